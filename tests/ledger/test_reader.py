"""Reading ledgers: what a crash leaves is tolerated, damage is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from enqueued.errors import ConfigError, ProtocolError
from enqueued.ledger.verification import verify

Ledgers = Any  # the fixture of this folder, which cannot be imported


@pytest.fixture
def lines(ledgers: Ledgers) -> list[bytes]:
    """The lines of two clients: a session and three batches of each."""
    for name in ("a:1", "b:2"):
        ledgers.client(name).begin("split", group=name).take(0, 0, 1, 2)
    found = [line for path in sorted(ledgers.folder.iterdir()) for line in path.read_bytes().splitlines(True)]
    assert len(found) == 8
    return found


def read(folder: Path, *parts: bytes) -> Any:
    """What one file of these parts proves."""
    path = folder / "ledger"
    path.write_bytes(b"".join(parts))
    try:
        return verify([path])
    finally:
        path.unlink()


@pytest.mark.parametrize("left", [1, 4, 8, 20, 40, -1])
def test_a_line_cut_short_at_the_end(tmp_path: Path, lines: list[bytes], left: int) -> None:
    """What a killed writer did not finish is not counted, and named."""
    report = read(tmp_path, *lines[:3], lines[3][:left])
    assert report.kept
    assert report.groups[0].acknowledged == 2
    (cut,) = report.cuts
    assert "ledger:4: a line of" in cut
    assert ("a:1" in cut) == (left in (20, 40, -1))


@pytest.mark.parametrize("left", [1, 4, 8, 20, 40, -1])
def test_a_line_cut_short_before_another_writer_went_on(tmp_path: Path, lines: list[bytes], left: int) -> None:
    """In a shared file the next line of another writer stands behind the part."""
    report = read(tmp_path, *lines[:3], lines[4], lines[3][:left], *lines[5:])
    assert report.kept
    assert [group.acknowledged for group in report.groups] == [2, 3]
    assert len(report.cuts) == 1


def test_two_lines_cut_short(tmp_path: Path, lines: list[bytes]) -> None:
    """A full disk cuts the lines of all."""
    report = read(tmp_path, lines[0], lines[4], lines[1][:-10], lines[5][:30])
    assert len(report.cuts) == 2
    assert "a:1" in report.cuts[0]
    assert "b:2" in report.cuts[1]


def test_a_writer_that_goes_on_after_a_cut_is_damage(tmp_path: Path, lines: list[bytes]) -> None:
    """A writer that was cut short has written nothing more: else something was taken out of the file."""
    with pytest.raises(ProtocolError, match=r"ledger:4: its writer goes on, after a line .* at .*ledger:3"):
        read(tmp_path, lines[0], lines[4], lines[1][:-10], lines[5], lines[2])


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage\n",
        b"\n",
        b"\0" * 5000,
        b"{}\n",
        b'{"s":"0123456789.0","at":[0,1],"sum":"zz"}\n',
        b'{"s":"0123456789.0","at":[0,-1]}\n',
        b'{"s":"0123456789.0","at":[00,1]}\n',
        b'x{"s":"0123456789.0","at":[0,1]}\n',
        b"9" * (5 << 20),
    ],
)
def test_garbage_names_file_and_line(tmp_path: Path, lines: list[bytes], garbage: bytes) -> None:
    """What is no line of a ledger is an error, at the end of a file too."""
    for rest in (lines[2:4], []):
        with pytest.raises(ProtocolError, match=r"ledger:3: this is no line of a ledger") as error:
            read(tmp_path, *lines[:2], garbage, *rest)
        assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"v":1', b'"v":2', "it has version 2, and this enqueued reads version 1"),
        (b'"rank":0', b'"rank":7', "its rank is 7 of 1"),
        (b'"rank":0', b'"rank":true', "its rank is True"),
        (b'"start":[0,0]', b'"start":[0]', r"its start is \[0\]"),
        (b'"kind":"split"', b'"kind":"shared"', "its kind is 'shared'"),
        (b'"world_size":1', b'"world_size":99999999', "its world_size is 99999999"),
        (b'"taken":[]', b'"taken":7', "its taken is 7"),
        (b'"indexed"', b'"index"', "its indexed is None"),
        (b"}\n", b"\n", "it is no JSON"),
    ],
)
def test_a_session_that_cannot_be_read(
    tmp_path: Path, lines: list[bytes], old: bytes, new: bytes, message: str
) -> None:
    """What a session says is checked, and what is wrong is named."""
    assert old in lines[0]
    with pytest.raises(ProtocolError, match=f"ledger:1: the session's line cannot be read: {message}"):
        read(tmp_path, lines[0].replace(old, new), *lines[1:4])


def test_what_a_later_version_adds_is_ignored(tmp_path: Path, lines: list[bytes]) -> None:
    """Within a version, fields may be added to a session."""
    assert read(tmp_path, lines[0].replace(b'"v":1', b'"v":1,"colour":"red"'), *lines[1:4]).kept


def test_lines_without_their_session_are_damage(tmp_path: Path, lines: list[bytes]) -> None:
    """A batch belongs to a session that begins in the same file."""
    with pytest.raises(ProtocolError, match=r"ledger:1: it belongs to a session that does not begin in this file"):
        read(tmp_path, *lines[1:4])


def test_a_ledger_that_is_named_twice(ledgers: Ledgers) -> None:
    """Counted twice, everything would be a repetition."""
    client = ledgers.client().begin().take(0, 0)
    with pytest.raises(ProtocolError, match="is the same ledger named twice"):
        verify([client.ledger.path, client.ledger.path])


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It is an error of configuration, with the path."""
    with pytest.raises(ConfigError, match=r"none cannot be read: No such file"):
        verify([tmp_path / "none"])


def test_an_empty_ledger_proves_nothing(tmp_path: Path) -> None:
    """No client has begun: there is no group."""
    assert read(tmp_path).groups == ()
