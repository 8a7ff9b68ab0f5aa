"""A segment: one sealed memfd, divided into cells of one size.

Its writer creates, allocates and maps it, and then seals it: after that nobody can map it writable, resize it, or
reopen it writable through ``/proc`` (a reopened descriptor could be written without ``F_SEAL_FUTURE_WRITE``). A memfd
is not bound by ``/dev/shm`` and leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import NamedTuple, TypeVar

M = TypeVar("M", bound=mmap.mmap)
PAGE = mmap.PAGESIZE
SMALL = 64 * 1024
"""Batches below this many bytes are copied out by clients, so their cells need not begin on a page."""

_SEGMENT_BYTES = 1 << 20
_MOST_CELLS = 256
_F_SEAL_FUTURE_WRITE = 0x0010  # linux/fcntl.h; Python's fcntl has no name for it yet
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | _F_SEAL_FUTURE_WRITE


class Slot(NamedTuple):
    """Where one encoded batch lies: `nbytes` from `offset` on in segment number `segment`.

    With several `cells` it is a run of as many batches of this size, in cells that follow each other.
    """

    segment: int
    offset: int
    nbytes: int
    cells: int = 1

    @property
    def step(self) -> int:
        """How many bytes the batches of a run lie apart."""
        return cell_size(self.nbytes)

    @property
    def stop(self) -> int:
        """Where the last batch ends."""
        return self.offset + (self.cells - 1) * self.step + self.nbytes

    def part(self, skip: int, cells: int) -> Slot:
        """So many batches of a run, without the first `skip`."""
        return Slot(self.segment, self.offset + skip * self.step, self.nbytes, cells)


def cell_size(nbytes: int) -> int:
    """The size class of a batch: at most an eighth larger, in whole cache lines, or in whole pages from `SMALL` on."""
    unit = 64 if nbytes < SMALL else PAGE
    step = max(unit, (1 << max(0, nbytes.bit_length() - 4)) // unit * unit)
    return -(-nbytes // step) * step


def cells_per_segment(cell_bytes: int) -> int:
    """How many cells share a segment: as many as fill a mebibyte, so that small batches need few segments."""
    return max(1, min(_MOST_CELLS, _SEGMENT_BYTES // cell_bytes))


def segment_size(cell_bytes: int) -> int:
    """The size of a segment for cells of this size, in whole pages."""
    return -(-cell_bytes * cells_per_segment(cell_bytes) // PAGE) * PAGE


def create_segment(name: str, size: int) -> tuple[int, mmap.mmap]:
    """Create, allocate, map and seal a segment; its descriptor and the only writable mapping there will ever be.

    The caller has made sure that there is memory: in a memory cgroup that is too small the allocation ends in SIGKILL.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.posix_fallocate(fd, 0, size)
        memory = mmap.mmap(fd, size, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ | mmap.PROT_WRITE)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd, memory


def map_private(fd: int, size: int, kind: type[M]) -> M:
    """Map a segment for a client: writable, but what is written stays private to it (copy-on-write)."""
    return kind(fd, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)


def map_readonly(fd: int, size: int) -> mmap.mmap:
    """Map a segment to read it, as the daemon does for clients that are served by sockets."""
    return mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)


def is_sealed(fd: int) -> bool:
    """Whether a descriptor is a segment whose writer can do no harm to a reader: no shrinking, so no SIGBUS."""
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS
    except OSError:
        return False
