"""Writing a ledger: shared files, full disks, closed clients."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from enqueued.errors import ClientError, ConfigError
from enqueued.ledger.verification import verify
from enqueued.ledger.writer import Ledger, checksum

Ledgers = Any  # the fixture of this folder, which cannot be imported

WRITE = """
import sys
from enqueued.ledger.writer import Ledger, checksum
ledger = Ledger(sys.argv[1])
first = int(sys.argv[2])
ledger.begin(stream="train", group="g", member=f"h:{first}", kind="split", rank=0, world_size=1, tail="drop",
    base=(0, 0), start=(0, 0), length=3000, indexed=True, fixed_epoch=None)
for index in range(first, 3000, 3):
    ledger.acknowledged((0, index), attempt=0, padded=False, checksum=checksum(b"%d" % index))
ledger.ended(0, 3000)
"""


def test_lines_are_json_and_name_their_session(ledgers: Ledgers) -> None:
    """Each line is an object that says whose it is; what is as always is left out."""
    client = ledgers.client("h:1").begin().take(0, 0).take(0, 1, attempt=1).skip(0, 2).end(0, 3)
    lines = [json.loads(line) for line in client.ledger.path.read_text().splitlines()]
    session = lines[0]["s"]
    assert {line.pop("s") for line in lines} == {session}
    assert lines[0]["v"] == 1
    assert lines[0]["member"] == "h:1"
    assert lines[1:] == [
        {"at": [0, 0], "sum": checksum(b"0:0")},
        {"at": [0, 1], "sum": checksum(b"0:1"), "attempt": 1},
        {"at": [0, 2], "skip": True},
        {"ended": [0, 3]},
    ]


def test_a_checksum_is_the_same_for_a_view() -> None:
    """Bytes and views of the same content have the same checksum, of sixteen digits."""
    assert checksum(b"abc") == checksum(memoryview(bytearray(b"abc")))
    assert len(checksum(b"")) == 16


def test_processes_share_a_file(tmp_path: Path) -> None:
    """What three processes append at once stays whole, and together is exact."""
    path = tmp_path / "shared"
    running = [subprocess.Popen([sys.executable, "-c", WRITE, path, str(number)]) for number in range(3)]
    assert [process.wait(30) for process in running] == [0, 0, 0]
    report = verify([path])
    assert report.kept
    assert report.groups[0].acknowledged == 3000
    assert report.groups[0].members == 3


def test_an_unwritable_path_is_a_configuration_error(tmp_path: Path) -> None:
    """It is said when the client is opened, and names the path."""
    with pytest.raises(ConfigError, match=r"none/ledger cannot be opened: No such file or directory; name a file"):
        Ledger(tmp_path / "none" / "ledger")
    with pytest.raises(ConfigError, match="Is a directory"):
        Ledger(tmp_path)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """Opening a pipe that nobody reads would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="cannot be opened"):
        Ledger(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="no regular file"):
        Ledger("/dev/null")


def test_a_full_disk_ends_the_client(ledgers: Ledgers) -> None:
    """A line that is cut short is an error that names the file, as is every line after it; the rest can be verified."""
    client = ledgers.client("h:1").begin().take(0, 0)
    size = client.ledger.path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, limits[1]))
    try:
        with pytest.raises(ClientError, match="cannot be written: the line was cut short; is the disk full"):
            client.take(0, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(ClientError, match="cut short"):
        client.take(0, 1)
    report = ledgers.verify()
    assert report.kept
    assert len(report.cuts) == 1
    assert report.groups[0].acknowledged == 1


def test_a_closed_ledger_takes_nothing(tmp_path: Path) -> None:
    """Closing twice is harmless; the descriptor, which may be another file's by then, is not written to."""
    ledger = Ledger(tmp_path / "ledger")
    ledger.close()
    ledger.close()
    with pytest.raises(ClientError, match="is closed"):
        ledger.ended(0, 1)


def test_sessions_have_names_of_their_own(ledgers: Ledgers) -> None:
    """The sessions of a client are numbered."""
    client = ledgers.client().begin().take(0, 0).begin(start=(1, 0)).take(1, 0)
    names = {json.loads(line)["s"].partition(".")[2] for line in client.ledger.path.read_text().splitlines()}
    assert names == {"0", "1"}
