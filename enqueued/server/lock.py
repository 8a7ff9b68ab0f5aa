"""One daemon for each name and state file: a locked file beside it, because binding an ipc address steals it."""

from __future__ import annotations

import fcntl
import os

from enqueued.errors import AddressInUse


class Lock:
    """Holds ``PATH.lock`` for as long as the process lives, with its pid in it. Raises `AddressInUse`.

    `use` says in the error what the owner does with the path, and `flag` how to name another one.
    """

    def __init__(self, path: str, use: str = "serves on", flag: str = "--name") -> None:
        self.path = path + ".lock"
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise AddressInUse(
                f"a daemon (pid {owner}) {use} {path} already; give this one another {flag}, or stop that one"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another daemon have the name; the file stays, so that nobody locks a file that is being removed."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)
