"""The arena as a client sees it: private, writable views of batches, and how they are given back.

A segment is mapped copy-on-write, so a trainer may change its batch in place and no other client sees it. On release
the pages that were written are found in ``/proc/self/pagemap`` and dropped, so that the next batch in the same cell is
seen: 17.7 GB/s so, 9.5 when every page is always dropped (CONTRIBUTING.md, "Decisions"). To look costs 10 us for each
mebibyte, and the first write to a page is a page fault: where this process had none meanwhile, none was written.
"""

from __future__ import annotations

import mmap
import os
import resource
import weakref
from collections import deque
from typing import Any, NamedTuple

import numpy as np

from enqueued.arena.segment import PAGE, is_sealed, map_private
from enqueued.errors import ProtocolError

_PRESENT, _SWAPPED, _FILE = np.uint64(1 << 63), np.uint64(1 << 62), np.uint64(1 << 61)
_MADV_POPULATE_WRITE = 23  # linux/mman.h, Linux 5.14; Python's mmap has no name for it yet


class _Memory(mmap.mmap):
    """A mapping that holds on to whatever has to live as long as an array over it."""

    anchor: object = None


class _Mapped(NamedTuple):
    memory: _Memory
    size: int
    whole: np.ndarray[Any, Any]
    address: int


class _Alive(NamedTuple):
    root: weakref.ref[np.ndarray[Any, Any]]
    segment: int
    offset: int
    nbytes: int
    faults: int
    """How many page faults this process had had when nothing was written in it yet."""


class Views:
    """The segments that this client has mapped and the views that are alive in the trainer.

    One thread may map, forget and collect while another one makes views and copies.
    `freed` collects the tags of views whose last array is gone; the finalizer only appends to it, because it may run at
    any point of the trainer's program.
    """

    def __init__(self) -> None:
        self.anchor: object = None
        """Kept by every mapping, and so by every array of the trainer's."""
        self._mapped: dict[int, _Mapped] = {}
        self._alive: dict[Any, _Alive] = {}
        self._doomed: set[int] = set()
        self.freed: deque[Any] = deque()
        self._pagemap = _open_pagemap()
        self._counted = self._pagemap is not None and _faults_are_counted()

    def __contains__(self, segment: int) -> bool:
        return segment in self._mapped

    @property
    def alive(self) -> int:
        """How many batches the trainer holds in shared memory."""
        return len(self._alive)

    def add(self, segment: int, fd: int, size: int) -> None:
        """Map a segment; the descriptor is closed. Raises `ProtocolError` for one that is not what it should be."""
        try:
            if not is_sealed(fd) or os.fstat(fd).st_size != size or size <= 0:
                raise ProtocolError(f"segment {segment} is not a sealed memory file of {size} bytes")
            memory = map_private(fd, size, _Memory)
        except OSError as error:
            raise ProtocolError(f"segment {segment} of {size} bytes cannot be mapped: {error}") from None
        else:
            memory.anchor = self.anchor
            whole = np.frombuffer(memory, np.uint8)
            self._mapped[segment] = _Mapped(memory, size, whole, whole.__array_interface__["data"][0])
        finally:
            os.close(fd)

    def copy(self, segment: int, offset: int, nbytes: int) -> np.ndarray[Any, Any]:
        """A private copy of a batch's bytes, independent of the arena."""
        return self.peek(segment, offset, nbytes).copy()

    def peek(self, segment: int, offset: int, nbytes: int) -> np.ndarray[Any, Any]:
        """Bytes where they lie, to be copied at once: nobody knows that they are read."""
        return self._find(segment, offset, nbytes).whole[offset : offset + nbytes]

    def view(self, tag: Any, segment: int, offset: int, nbytes: int) -> np.ndarray[Any, Any]:
        """The batch's bytes where they lie; `tag` comes back in `freed` when no array over them is left.

        The root is a fresh array over the mapping, and the leaves' bases end at it: NumPy collapses chains of arrays
        only up to one whose own base is no array.
        """
        if tag in self._alive:
            raise ProtocolError(f"a view {tag!r} is alive already")
        root = np.frombuffer(self._find(segment, offset, nbytes).memory, np.uint8, nbytes, offset)
        freed = self.freed
        faults = _faults() if self._counted else 0
        self._alive[tag] = _Alive(weakref.ref(root, lambda _: freed.append(tag)), segment, offset, nbytes, faults)
        return root

    def _find(self, segment: int, offset: int, nbytes: int) -> _Mapped:
        mapped = self._mapped[segment]
        if offset < 0 or nbytes <= 0 or offset + nbytes > mapped.size:
            raise ProtocolError(f"a ticket names bytes {offset} to {offset + nbytes} of a segment of {mapped.size}")
        return mapped

    def collect(self) -> list[Any]:
        """The tags of the views that are gone, their written pages dropped: their slots may be reused."""
        tags = []
        while self.freed:
            tag = self.freed.popleft()
            _, segment, offset, nbytes, faults = self._alive.pop(tag)
            if not self._counted or _faults() != faults:
                self._drop_written(self._mapped[segment], offset, nbytes)
            tags.append(tag)
            if segment in self._doomed:
                self._unmap(segment)
        return tags

    def _drop_written(self, mapped: _Mapped, offset: int, nbytes: int) -> None:
        memory = mapped.memory
        start, length = _pages(offset, nbytes)
        if self._pagemap is None:
            memory.madvise(mmap.MADV_DONTNEED, start, length)
            return
        place = (mapped.address + start) // PAGE * 8
        entries = np.frombuffer(os.pread(self._pagemap, length // PAGE * 8, place), np.uint64)
        written = ((entries & (_PRESENT | _SWAPPED)) != 0) & ((entries & _FILE) == 0)
        if written.any():
            edges = np.flatnonzero(np.diff(written, prepend=False, append=False))
            for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                memory.madvise(mmap.MADV_DONTNEED, start + first * PAGE, (last - first) * PAGE)

    def forget(self, segment: int) -> None:
        """The daemon has closed a segment: unmap it, once no view is left."""
        if segment in self._mapped:
            self._doomed.add(segment)
            self._unmap(segment)

    def _unmap(self, segment: int) -> None:
        if not any(row.segment == segment for row in list(self._alive.values())):
            self._doomed.discard(segment)
            del self._mapped[segment]  # and the mapping goes with its last array

    def keep(self) -> None:
        """Make the pages of every living view this process's own, before a fork.

        A forked child has the trainer's arrays too, and the daemon knows nothing of it: once this process has given a
        slot back, the child would see the next batch in it. Written pages are shared between parent and child alone.
        """
        for root, segment, offset, nbytes, _ in list(self._alive.values()):
            memory = self._mapped[segment].memory
            start, length = _pages(offset, nbytes)
            try:
                memory.madvise(_MADV_POPULATE_WRITE, start, length)
            except OSError:  # an older kernel
                array = root()
                if array is not None:
                    array[::PAGE] |= 0
                    array[-1:] |= 0

    def close(self) -> None:
        """Forget all segments; memory under arrays that the trainer still holds stays until they are gone."""
        self._alive.clear()
        self._mapped.clear()
        self.anchor = None
        if self._pagemap is not None:
            os.close(self._pagemap)
            self._pagemap = None


def _pages(offset: int, nbytes: int) -> tuple[int, int]:
    """The first byte and the length of the pages in which a batch lies."""
    start = offset // PAGE * PAGE
    return start, -(-(offset + nbytes - start) // PAGE) * PAGE


def _open_pagemap() -> int | None:
    try:
        return os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _faults() -> int:
    """How many page faults all threads of this process have had."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt


def _faults_are_counted() -> bool:
    """Whether the kernel counts them, as seen by one: a sandbox that stands for it may always say 0."""
    before = _faults()
    with mmap.mmap(-1, PAGE) as memory:
        memory[0] = 1
    return _faults() > before
