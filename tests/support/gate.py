"""A gate between processes: the kernel holds back who comes to it, so that nobody asks again and again."""

from __future__ import annotations

import fcntl
from pathlib import Path
from types import TracebackType
from typing import Self


class Gate:
    """A file that is locked until the gate is opened, by `open`, by the end of the block or of the test's process.

    A source goes through it by `enter`, or by ``fcntl.flock(file, fcntl.LOCK_SH)`` where it cannot import that.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def open(self) -> None:
        """Let all through, now and later."""
        fcntl.flock(self._file, fcntl.LOCK_UN)  # closing would not do: a forked worker has the file, too

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()
        self._file.close()


def enter(path: Path) -> None:
    """Return once the gate at this path is open."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
