"""``enqueued groups``: the table, and what it says when it moves a group, forgets one, or finds no daemon."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from enqueued.errors import Refused
from enqueued.wire.control import Request
from enqueued_cli.groups import table
from enqueued_cli.main import run

ROW: dict[str, Any] = {
    "stream": "train",
    "name": "sweep",
    "private": False,
    "kind": "split",
    "rank": -1,
    "world_size": 1,
    "epoch": 3,
    "index": 118,
    "members": 2,
    "lag": 12500,
    "leases": 6,
    "waits_for": "",
    "remembered": False,
}


class FakeControl:
    """A connection that answers as it is told, and keeps what it was asked."""

    answer: Any = None
    asked: ClassVar[list[Any]]

    def __init__(self, endpoint: str | None, timeout_s: float, *, name: str | None) -> None:
        self.stream = "named" if endpoint else None
        self.asked.append((endpoint, timeout_s, name))

    def __enter__(self) -> FakeControl:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def groups(self, stream: str | None) -> Any:
        self.asked.append(stream)
        return self.answer

    def ask(self, request: Request) -> Any:
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[Any]]:
    """Lets the daemon answer something, and gives what it was asked."""

    def stand_in(answer: Any) -> list[Any]:
        class Control(FakeControl):
            asked: ClassVar[list[Any]] = []

        Control.answer = answer
        module = ModuleType("enqueued.client.control")
        module.Control = Control  # type: ignore[attr-defined] # a module made by hand
        monkeypatch.setitem(sys.modules, "enqueued.client.control", module)
        return Control.asked

    return stand_in


def test_a_table_of_groups_reads_like_this() -> None:
    """Split, private and remembered groups, and each rank on its own."""
    rows = [
        {**ROW, "waits_for": "group 'slow', 10 batches behind"},
        {**ROW, "name": "private client 3", "kind": "private", "private": True, "lag": 0, "members": 1, "leases": 0},
        {**ROW, "name": "ddp", "kind": "ranks", "private": True, "rank": 2, "world_size": 4, "lag": -1},
        {**ROW, "stream": "val", "name": "left", "members": 0, "leases": 3, "remembered": True},
    ]
    assert table(rows).splitlines() == [
        "STREAM  GROUP      KIND         AT     MEMBERS                LAG     LEASES  WAITS FOR",
        "train   sweep      split        3:118  2                      12 500  6       group 'slow', 10 batches behind",
        "train   (private)  private      3:118  1                      0       0",
        "train   ddp        rank 2 of 4  3:118  2                      -       6",
        "val     left       split        3:118  no member, remembered  -       3",
    ]
    assert table([]).startswith("there is no group")


def test_the_groups_are_listed(answering: Callable[[Any], list[Any]], capsys: pytest.CaptureFixture[str]) -> None:
    """As a table or as JSON, of one stream or of all."""
    asked = answering([ROW])
    assert run(["groups", "--timeout", "2", "--name", "run7"]) == 0
    assert run(["groups", "--json", "--stream", "train", "--endpoint", "ipc:///x.sock"]) == 0
    assert run(["groups", "--endpoint", "ipc:///x.sock/named"]) == 0
    assert asked == [
        *[(None, 2.0, "run7"), None],
        *[("ipc:///x.sock", 5.0, None), "train"],
        *[("ipc:///x.sock/named", 5.0, None), "named"],
    ]
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("STREAM")
    assert json.loads(out[2]) == [ROW]


def test_a_reset_says_what_was_done(answering: Callable[[Any], list[Any]], capsys: pytest.CaptureFixture[str]) -> None:
    """In one line; options may stand before the command or behind it."""
    asked = answering({"stream": "train", "members": 2})
    assert run(["groups", "--name", "run7", "reset", "sweep", "--to", "3:17", "--stream", "train"]) == 0
    assert asked == [(None, 5.0, "run7"), Request("reset", "train", "sweep", 3, 17)]
    assert capsys.readouterr().out == "train: group 'sweep' goes on at 3:17, and its 2 members with it\n"
    answering({"stream": "train", "members": 0})
    assert run(["groups", "reset", "sweep", "--to", "3:17"]) == 0
    assert capsys.readouterr().out == "train: group 'sweep' goes on at 3:17\n"


def test_a_removal_says_what_was_done(
    answering: Callable[[Any], list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line."""
    asked = answering({"stream": "train"})
    assert run(["groups", "rm", "sweep"]) == 0
    assert asked[1] == Request("rm", None, "sweep")
    assert capsys.readouterr().out.startswith("train: group 'sweep' is forgotten")


def test_a_refusal_is_one_line(answering: Callable[[Any], list[Any]], capsys: pytest.CaptureFixture[str]) -> None:
    """What the daemon says, and exit code 1."""
    answering(Refused("group 'sweep' has members: client 3"))
    assert run(["groups", "rm", "sweep"]) == 1
    assert capsys.readouterr().err == "enqueued: group 'sweep' has members: client 3\n"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["groups", "reset", "sweep"], "--to"),
        (["groups", "reset", "sweep", "--to", "3"], "EPOCH:INDEX"),
        (["groups", "reset", "sweep", "--to", "3:-1"], "EPOCH:INDEX"),
        (["groups", "--json", "rm", "sweep"], "--json is for the list"),
        (["groups", "remove", "sweep"], "No such command 'remove'"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before any daemon is asked."""
    assert run(arguments) == 2
    assert why in capsys.readouterr().err


def test_no_daemon_lists_what_was_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 1; a daemon elsewhere is not controlled from here."""
    assert run(["groups", "--endpoint", f"ipc://{tmp_path}/x.sock"]) == 1
    assert f"ipc://{tmp_path}/x.sock: there is no socket" in capsys.readouterr().err
    assert run(["groups", "rm", "sweep", "--endpoint", "tcp://node7:5555"]) == 1
    assert "controlled on its own host" in capsys.readouterr().err


def test_what_can_be_no_group_and_no_position_is_not_even_sent(
    answering: Callable[[Any], list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line each."""
    asked = answering({})
    assert run(["groups", "reset", "sweep", "--to", f"0:{1 << 70}"]) == 1
    assert "the place to go to is no position" in capsys.readouterr().err
    assert run(["groups", "rm", "a b"]) == 1
    assert "group is 1 to 64 letters" in capsys.readouterr().err
    assert asked == [(None, 5.0, None)] * 2
