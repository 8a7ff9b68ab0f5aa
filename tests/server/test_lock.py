"""One daemon for each name and each state file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from enqueued.errors import AddressInUse
from enqueued.server.lock import Lock
from serving import Serving


def test_the_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    """A name that is taken names its owner's pid, and the owner is not disturbed."""
    first = Lock(str(tmp_path / "x.sock"))
    with pytest.raises(AddressInUse, match=f"pid {os.getpid()}"):
        Lock(str(tmp_path / "x.sock"))
    assert Path(first.path).read_text().strip() == str(os.getpid())
    first.release()
    Lock(str(tmp_path / "x.sock")).release()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Nobody can have the daemon empty a file of its user's by putting a link where the lock goes."""
    (tmp_path / "precious").write_text("data")
    (tmp_path / "x.sock.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic link"):
        Lock(str(tmp_path / "x.sock"))
    assert (tmp_path / "precious").read_text() == "data"


def test_two_daemons_do_not_share_a_state_file(tmp_path: Path) -> None:
    """Each would write over what the other knows of its groups: the second ends, and the first is not disturbed."""
    flags = ("--sequence", "sources.counting:Counting", "--state-file", str(tmp_path / "x.state"))
    with Serving(*flags) as first:
        first.ready()
        with Serving(*flags, expect=4) as second:
            assert second.wait() == 4
            assert f"pid {first.process.pid}) keeps its state in {tmp_path}/x.state already" in second.log
            assert "--state-file" in second.log
        with first.client(group="g") as client:
            assert len(list(client)) == 20
