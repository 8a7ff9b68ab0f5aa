"""Regular files that this process holds open: forked readers of one would share its offset."""

from __future__ import annotations

import fcntl
import os
import stat


def open_regular_files() -> set[str]:
    """Paths of the regular files open for reading here, without stdio, deleted files and shared memory.

    Empty where there is no ``/proc``. Compare before and after a constructor to see what it left open.
    """
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return set()
    paths = (_regular_path(number) for number in numbers if number > 2)
    return {path for path in paths if path is not None}


def _regular_path(number: int) -> str | None:
    try:
        path = os.readlink(f"/proc/self/fd/{number}")
        status = os.fstat(number)
        access = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:  # the listing's own descriptor, or one that another thread just closed
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_nlink == 0 or access == os.O_WRONLY:
        return None
    return None if path.startswith(("/memfd:", "/dev/shm/")) else path
