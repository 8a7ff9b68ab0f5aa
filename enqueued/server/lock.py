"""One daemon for each name: a locked file beside the socket, because binding an ipc address steals it."""

from __future__ import annotations

import fcntl
import os

from enqueued.errors import AddressInUse


class Lock:
    """Holds ``PATH.lock`` for as long as the process lives, with its pid in it. Raises `AddressInUse`."""

    def __init__(self, path: str) -> None:
        self.path = path + ".lock"
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise AddressInUse(
                f"a daemon (pid {owner}) serves on {path} already; give this one another --name, or stop that one"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another daemon have the name; the file stays, so that nobody locks a file that is being removed."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)
