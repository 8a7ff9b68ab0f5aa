"""What systemd is told: sd_notify(3), which is a datagram to a unix socket."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


class Notifier:
    """Tells the service manager how the daemon is; does nothing where there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        watchdog = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every_s = int(watchdog) / 2e6 if watchdog.isdigit() and meant and self._address else 0.0
        self._pinged = 0.0

    def tell(self, **fields: str) -> None:
        """Send fields such as ``READY="1"``."""
        if not self._address:
            return
        text = "\n".join(f"{name}={value}" for name, value in fields.items())
        with (
            contextlib.suppress(OSError),  # a manager that does not listen is no reason to stop
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        ):
            sock.sendto(text.encode(), self._address)

    def ping(self, now: float) -> None:
        """Say that the loop goes round; call it from the loop alone, so that one that blocks is noticed."""
        if self._every_s and now - self._pinged >= self._every_s:
            self._pinged = now
            self.tell(WATCHDOG="1")
