"""``enqueued stats``, with a function in the daemon's place."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from enqueued.errors import ConnectTimeout
from enqueued.stats import DaemonStats
from enqueued_cli.main import run

Asked = list[tuple[str, str | None, float]]


def snapshot(uptime_s: float) -> dict[str, Any]:
    """The answer of a daemon that serves nothing yet."""
    return DaemonStats("0.1.0", "run7", 1, "abc", uptime_s, 0.1, 1 << 20, 0, 0, ("ipc:///x",), ()).to_plain()


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], dict[str, Any]]], Asked]:
    """Lets a function answer, and keeps what was asked."""

    def stand_in(answer: Callable[[], dict[str, Any]]) -> Asked:
        asked: Asked = []

        def query(what: str, endpoint: str | None, timeout_s: float, *, name: str | None) -> dict[str, Any]:
            asked.append((what, endpoint, timeout_s))
            return answer()

        client = ModuleType("enqueued.client.query")
        client.query = query  # type: ignore[attr-defined] # a module made by hand
        monkeypatch.setitem(sys.modules, "enqueued.client.query", client)
        return asked

    return stand_in


def test_the_table_is_printed(answering: Callable[..., Asked], capsys: pytest.CaptureFixture[str]) -> None:
    """One answer, one table, and no control characters where there is no terminal."""
    asked = answering(lambda: snapshot(60.0))
    assert run(["stats", "--endpoint", "tcp://127.0.0.1:1", "--timeout", "2"]) == 0
    assert asked == [("stats", "tcp://127.0.0.1:1", 2.0)]
    out = capsys.readouterr().out
    assert out.startswith("enqueued 0.1.0  run7  pid 1  up 1 min 0 s")
    assert "\x1b" not in out


def test_json_is_the_snapshot(answering: Callable[..., Asked], capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints what the daemon answered, on one line."""
    answering(lambda: snapshot(60.0))
    assert run(["stats", "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == json.loads(json.dumps(snapshot(60.0)))


def test_a_count_of_answers(answering: Callable[..., Asked], capsys: pytest.CaptureFixture[str]) -> None:
    """--count asks that often, with one line of JSON for each."""
    uptimes = iter([1.0, 2.0, 3.0])
    asked = answering(lambda: snapshot(next(uptimes)))
    assert run(["stats", "--count", "3", "-i", "0.05", "--json"]) == 0
    assert [json.loads(line)["uptime_s"] for line in capsys.readouterr().out.splitlines()] == [1.0, 2.0, 3.0]
    assert len(asked) == 3


def test_watching_ends_with_ctrl_c(answering: Callable[..., Asked], capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is how watching ends, and no failure; tables are apart from each other."""
    answers = iter([snapshot(1.0), snapshot(2.0)])

    def answer() -> dict[str, Any]:
        for each in answers:
            return each
        raise KeyboardInterrupt

    answering(answer)
    assert run(["stats", "--watch", "-i", "0.05"]) == 0
    assert capsys.readouterr().out.count("\n\nenqueued 0.1.0") == 1


def test_ctrl_c_before_the_first_answer_is_130(answering: Callable[..., Asked]) -> None:
    """Whoever interrupts a single question gets the code that shells use for it."""

    def answer() -> dict[str, Any]:
        raise KeyboardInterrupt

    answering(answer)
    assert run(["stats"]) == 130


def test_no_daemon_is_a_failure(answering: Callable[..., Asked], capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody answers, the client's error is told, with exit code 1."""

    def answer() -> dict[str, Any]:
        raise ConnectTimeout("No daemon answered within 5 s: tried ipc:///x (no such file).")

    answering(answer)
    assert run(["stats"]) == 1
    assert capsys.readouterr().err == "enqueued: No daemon answered within 5 s: tried ipc:///x (no such file).\n"


def test_watching_outlives_the_daemon(answering: Callable[..., Asked], capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that is restarted is when one wants to watch."""
    answers = iter([snapshot(1.0), None, snapshot(2.0)])

    def answer() -> dict[str, Any]:
        for each in answers:
            if each is None:
                raise ConnectTimeout("no daemon answered")
            return each
        raise KeyboardInterrupt

    answering(answer)
    assert run(["stats", "--watch", "-i", "0.05"]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("enqueued 0.1.0") == 2
    assert "no daemon answered" in shown.err
