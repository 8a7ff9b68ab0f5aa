"""What systemd is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from enqueued.server.notify import Notifier


def _listen(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    sock.setblocking(False)
    return sock


def test_fields_are_sent_as_lines(tmp_path: Path) -> None:
    """READY and STATUS travel in one datagram."""
    path = str(tmp_path / "notify")
    with _listen(path) as manager:
        Notifier({"NOTIFY_SOCKET": path}).tell(READY="1", STATUS="serving")
        assert manager.recv(1024) == b"READY=1\nSTATUS=serving"


def test_an_abstract_address_is_understood() -> None:
    """systemd may give an address that is no file."""
    name = f"enqueued-test-{os.getpid()}"
    with _listen("\0" + name) as manager:
        Notifier({"NOTIFY_SOCKET": "@" + name}).tell(READY="1")
        assert manager.recv(1024) == b"READY=1"


def test_the_watchdog_is_pinged_no_more_often_than_asked(tmp_path: Path) -> None:
    """One ping now, the next after half of the watchdog's time."""
    path = str(tmp_path / "notify")
    with _listen(path) as manager:
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())})
        for now, pinged in ((1000.0, True), (1000.1, False), (1029.9, False), (1030.0, True), (1059.0, False)):
            notifier.ping(now)
            try:
                assert (manager.recv(1024), pinged) == (b"WATCHDOG=1", True), now
            except BlockingIOError:
                assert not pinged, now


def test_nothing_is_sent_where_nobody_listens(tmp_path: Path) -> None:
    """Without a manager, or with one that is gone, telling is harmless."""
    Notifier({}).tell(READY="1")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell(READY="1")
