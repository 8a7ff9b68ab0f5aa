"""One daemon for each name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from enqueued.errors import AddressInUse
from enqueued.server.lock import Lock


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
