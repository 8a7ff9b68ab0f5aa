"""The state file, on a disk that works."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.errors import ConfigError, ProtocolError
from enqueued.server.state import StateFile, decode, default_path, encode
from waiting import until

STATE = {"train": {"sweep": {"epoch": 3, "index": 117, "generation": 2}}, "incarnation": "0f"}
PLAIN = st.dictionaries(
    st.text(),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False)
        | st.text(st.characters())
        | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 2**32), inner),
        max_leaves=20,
    ),
)

Open = Callable[[str], StateFile]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "train.state")


@pytest.fixture
def opened() -> Iterator[Open]:
    """Makes state files, and ends their threads."""
    files: list[StateFile] = []

    def make(path: str) -> StateFile:
        files.append(StateFile(path))
        return files[-1]

    yield make
    for file in files:
        file.close()


def settle(file: StateFile) -> Any:
    """The tag of the write that is under way."""
    return until(file.written)


def test_what_is_written_is_loaded(path: str, opened: Open) -> None:
    """A later daemon gets what the earlier one offered last."""
    file = opened(path)
    assert file.load() == {}
    assert file.offer({"old": 1}, 10.0, tag="first")
    assert settle(file) == "first"
    assert file.offer(STATE, 11.0, tag="second")
    assert settle(file) == "second"
    assert file.written() is None
    assert opened(path).load() == STATE
    assert file.failures == 0


def test_what_is_offered_is_a_snapshot(path: str, opened: Open) -> None:
    """The owner may go on changing its data at once."""
    file, plain = opened(path), {"groups": [1, 2]}
    assert file.offer(plain, 0.0, tag=1)
    plain["groups"].append(3)
    settle(file)
    assert file.load() == {"groups": [1, 2]}


def test_there_is_at_most_one_write_a_second(path: str, opened: Open) -> None:
    """What is offered sooner is not taken, and nothing is done."""
    file = opened(path)
    assert file.offer({"n": 1}, 100.0, tag=1)
    settle(file)
    assert not file.offer({"n": 2}, 100.99, tag=2)
    assert file.load() == {"n": 1}
    assert file.offer({"n": 3}, 101.0, tag=3)
    assert settle(file) == 3
    assert file.load() == {"n": 3}


def test_the_last_state_is_written_at_the_end(path: str, opened: Open) -> None:
    """Closing writes what it is given, however short ago the last write was, and ends the thread."""
    file = StateFile(path)
    assert file.offer({"n": 1}, 0.0)
    file.close({"n": 2})
    assert opened(path).load() == {"n": 2}


def test_only_the_user_may_read_it(path: str, opened: Open) -> None:
    """The file is the daemon's alone."""
    file = opened(path)
    file.offer(STATE, 0.0, tag=1)
    settle(file)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(os.path.dirname(path)) == ["train.state"]


def test_a_link_is_replaced_and_not_followed(path: str, tmp_path: Path, opened: Open) -> None:
    """Writing through a link that lies there would empty whatever it points to."""
    (tmp_path / "precious").write_text("data")
    os.symlink(tmp_path / "precious", path)
    file = opened(path)
    file.offer(STATE, 0.0, tag=1)
    settle(file)
    assert (tmp_path / "precious").read_text() == "data"
    assert file.load() == STATE


def test_leftovers_of_a_crash_are_removed(path: str, tmp_path: Path, opened: Open) -> None:
    """What was half-written for this file goes; what only looks like it stays."""
    others = ["train.state.bad", "train.state.tmp", "other.state.0123abcd.tmp", "train.state.x.state.0123abcd.tmp"]
    for name in ["train.state.0123abcd.tmp", "train.state.ffffffff.tmp", *others]:
        (tmp_path / name).write_text("")
    assert opened(path).load() == {}
    assert sorted(os.listdir(tmp_path)) == sorted(others)


@given(PLAIN)
def test_plain_data_read_back(plain: dict[str, Any]) -> None:
    """Whatever plain data is stored comes back equal."""
    assert decode(encode(plain)) == plain


@given(PLAIN, st.data())
def test_damage_is_noticed(plain: dict[str, Any], data: st.DataObject) -> None:
    """Bytes changed anywhere, or an end cut off, are told, and never give other data."""
    content = bytearray(encode(plain))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        assert decode(bytes(content)) == plain


@given(st.binary())
def test_any_bytes_can_be_looked_at(content: bytes) -> None:
    """Content that is not ours is told as that."""
    with pytest.raises(ProtocolError):
        decode(content)


def test_every_truncation_and_every_flip_is_noticed() -> None:
    """At each offset: cut off there, and each bit turned there."""
    content = encode(STATE)
    for offset in range(len(content)):
        with pytest.raises(ProtocolError):
            decode(content[:offset])
        for bit in range(8):
            flipped = bytearray(content)
            flipped[offset] ^= 1 << bit
            with pytest.raises(ProtocolError):
                decode(bytes(flipped))


def sealed(payload: bytes, **fields: Any) -> bytes:
    """A file with a right checksum over any payload."""
    packed: bytes = msgpack.packb({"enqueued-state": 1, "crc": zlib.crc32(payload), "payload": payload, **fields})
    return packed


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encode(STATE)[:-1], "it is damaged"),
        (encode(STATE).replace(b"sweep", b"swoop"), "its checksum is wrong"),
        (b"", "it is damaged"),
        (b"text that somebody wrote", "it is damaged"),
        (msgpack.packb({"other": 1}), "no state file of enqueued"),
        (sealed(encode(STATE), **{"enqueued-state": 2}), "it has format 2, and this version reads format 1"),
        (sealed(b"\xc1"), "it is damaged"),
        (sealed(msgpack.packb([1])), "it holds no map"),
        (sealed(b"\x81\x90\x01"), "it is damaged"),
        (sealed(b"\x91" * 2000 + b"\x01"), "it is damaged"),
        (msgpack.packb({"enqueued-state": 1}), "its checksum is wrong"),
    ],
)
def test_what_cannot_be_used_is_put_aside(
    path: str, opened: Open, caplog: pytest.LogCaptureFixture, content: bytes, reason: str
) -> None:
    """It is renamed and named in a warning, and the next state is written as ever."""
    Path(path).write_bytes(content)
    file = opened(path)
    assert file.load() == {}
    assert Path(path + ".bad").read_bytes() == content
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert reason in record.getMessage()
    assert f"it is now {path}.bad" in record.getMessage()
    assert file.load() == {}
    file.offer(STATE, 0.0, tag=1)
    settle(file)
    assert file.load() == STATE


def test_an_endless_file_is_not_read_whole(path: str, opened: Open) -> None:
    """A file far too large for a state is another file, and costs no memory to say so."""
    with open(path, "wb") as large:
        large.truncate(1 << 40)
    assert opened(path).load() == {}
    assert os.listdir(os.path.dirname(path)) == ["train.state.bad"]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "folder"])
def test_what_is_no_file_is_put_aside(path: str, opened: Open, make: Callable[[str], None]) -> None:
    """A pipe or a folder there neither holds the daemon up nor ends it."""
    make(path)
    assert opened(path).load() == {}
    assert os.listdir(os.path.dirname(path)) == ["train.state.bad"]


def test_a_file_that_cannot_be_opened_is_a_configuration_error(tmp_path: Path, opened: Open) -> None:
    """To begin anew would write over what is there."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/x\.state cannot be read: Not a directory\. Give another"):
        opened(str(tmp_path / "file" / "x.state")).load()


def failed(file: StateFile, times: int) -> None:
    """Wait for a write to fail."""
    until(lambda: file.failures == times)


def test_a_missing_folder_is_told_once_and_tried_again(
    tmp_path: Path, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """A write that fails is told once for its cause, counted each time, and done as soon as it can be."""
    file = opened(str(tmp_path / "gone" / "x.state"))
    assert file.load() == {}
    for number in (1, 2, 3):
        assert until(partial(file.offer, {"n": number}, float(number), tag=number))
        failed(file, number)
    assert file.written() is None
    (record,) = caplog.records
    assert "cannot be written: No such file or directory" in record.getMessage()
    (tmp_path / "gone").mkdir()
    assert until(lambda: file.offer(STATE, 4.0, tag=4))
    assert settle(file) == 4
    assert (file.load(), file.failures) == (STATE, 3)
    (tmp_path / "gone" / "x.state").unlink()
    (tmp_path / "gone").rmdir()
    assert until(lambda: file.offer(STATE, 5.0))
    failed(file, 4)
    assert len(until(lambda: caplog.records[1:])) == 1


@pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="there is no folder that even root cannot write to")
def test_a_folder_that_cannot_be_written_to_ends_nothing(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    """The daemon goes on, and says what it cannot do."""
    file = opened("/sys/kernel/enqueued.state")
    assert file.load() == {}
    assert file.offer(STATE, 0.0, tag=1)
    failed(file, 1)
    assert "/sys/kernel/enqueued.state cannot be written" in until(lambda: caplog.text)
    assert file.written() is None


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({}, "/run/enqueued/train.state"),
        ({"STATE_DIRECTORY": ""}, "/run/enqueued/train.state"),
        ({"STATE_DIRECTORY": "/var/lib/enqueued"}, "/var/lib/enqueued/my.state"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a/my.state"),
    ],
)
def test_it_lies_where_systemd_says_else_beside_the_socket(environ: dict[str, str], path: str) -> None:
    """Nobody needs to say where."""
    assert default_path("my", "/run/enqueued/train.sock", environ) == path


def test_a_socket_of_another_name_has_a_state_file_of_its_own() -> None:
    """The state file never has the path of the socket."""
    assert default_path("my", "/run/x", {}) == "/run/x.state"
