"""``enqueued verify``: its table, its findings and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enqueued.ledger.writer import Ledger, checksum
from enqueued_cli.main import run

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes the ledger of a client that took these indices of epoch 0, and gives its path."""
    opened: list[Ledger] = []

    def written(name: str, indices: list[int], *, group: str | None = None, attempt: int = 0, length: int = 0) -> str:
        ledger = Ledger(tmp_path / name)
        opened.append(ledger)
        ledger.begin(
            stream="train",
            group=group,
            member=f"{name}:1:0",
            kind="split" if group else "private",
            rank=0,
            world_size=1,
            tail="drop",
            base=(0, 0),
            start=(0, 0),
            length=None,
            indexed=True,
            fixed_epoch=None,
        )
        for index in indices:
            ledger.acknowledged((0, index), attempt=attempt, padded=False, checksum=checksum(b"%d" % index))
        if length:
            ledger.ended(0, length)
        return str(ledger.path)

    yield written
    for ledger in opened:
        ledger.close()


def test_what_is_as_promised_is_zero(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """A table with a line for each group, and the verdict."""
    paths = [write("a", [0, 1, 2]), write("b", [0, 2], group="g", length=3), write("c", [1], group="g")]
    assert run(["verify", *paths]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "GROUP                  EPOCHS  POSITIONS  ACKNOWLEDGED  REPEATED  LOST  WRONG  OPEN",
        "train (private) a:1:0  1       3          3             0         0     0      0",
        "train/g                1       3          3             0         0     0      0",
        "",
        "10 lines: all is as promised",
    ]


def test_what_is_not_is_one_and_told_in_ranges(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of violation has a title that says what it means, and positions as ranges."""
    assert run(["verify", write("a", [*range(117), 121, 121])]) == 1
    out = capsys.readouterr().out
    assert "\nlost: 4 positions, they were not delivered\n  train (private) a:1:0  0:117-0:120\n" in out
    assert "\nrepeated: 1 position, they came again without being marked as redelivered (" in out
    assert out.endswith("\n120 lines: not as promised\n")


def test_at_most_twenty_of_a_kind_are_shown(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """A ledger with a thousand gaps is told in a screen."""
    assert run(["verify", write("a", list(range(0, 3000, 2)))]) == 1
    out = capsys.readouterr().out
    assert out.count("train (private)") == 1 + 20
    assert "  and 1 479 more positions\n" in out


def test_more_is_said_when_asked(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """-v lists what is open and what came again and says so; --complete makes a loss of what is open."""
    paths = [write("a", [0, 1, 5], group="g"), write("b", [1], group="g", attempt=1)]
    assert run(["verify", *paths]) == 0
    assert "0:1" not in capsys.readouterr().out
    assert run(["verify", "-v", *paths]) == 0
    out = capsys.readouterr().out
    assert "repeated, and marked as redelivered, which is allowed:\n  train/g  0:1\n" in out
    assert "open, perhaps still in a trainer's hands:\n  train/g  0:2-0:4\n" in out
    assert run(["verify", "--complete", *paths]) == 1
    assert "lost: 3 positions, they were not delivered\n  train/g  0:2-0:4\n" in capsys.readouterr().out


def test_json_is_one_line(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """Groups and violations for machines, with the same exit code."""
    assert run(["verify", "--json", write("a", [0, 3])]) == 1
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    told = json.loads(out)
    assert told["kept"] is False
    assert told["groups"][0]["lost"] == 2
    assert told["violations"][0]["positions"] == {"epoch": 0, "first": 1, "last": 2, "step": 1}


def test_a_cut_line_is_named(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """What a killed trainer did not finish is no violation, but it is told."""
    path = write("a", [0, 1])
    with Path(path).open("r+b") as file:
        file.truncate(Path(path).stat().st_size - 5)
    assert run(["verify", path]) == 0
    assert f"{path}:3: a line of a:1:0 was cut short" in capsys.readouterr().out


def test_garbage_is_an_error(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """File and line are named on standard error."""
    path = tmp_path / "log"
    path.write_text("epoch 1 loss 0.3\n")
    assert run(["verify", write("a", [0]), str(path)]) == 1
    assert capsys.readouterr().err.startswith(f"enqueued: {path}:1: this is no line of a ledger: b'epoch 1")


def test_a_missing_file_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """So is none at all."""
    assert run(["verify", "/none/such"]) == 2
    assert run(["verify"]) == 2
    assert "'/none/such' does not exist" in capsys.readouterr().err


def test_empty_ledgers_prove_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said, for no violation is easily taken for a proof."""
    (tmp_path / "empty").touch()
    assert run(["verify", str(tmp_path / "empty")]) == 0
    assert "they prove nothing" in capsys.readouterr().out


def test_verifying_needs_no_engine(write: Write) -> None:
    """It reads files, and loads neither NumPy nor ZeroMQ."""
    asked = f"""
import sys
from enqueued_cli.main import run
print(run(['verify', {write("a", [0])!r}]), sorted({{'numpy', 'zmq', 'msgpack'}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "0 []"
