"""The arena as a client sees it: private, writable views of batches, and how they are given back.

A segment is mapped copy-on-write, so a trainer may change its batch in place and no other client sees it. On release the
pages that were written are found in ``/proc/self/pagemap`` and dropped, so that the next batch in the same cell is seen:
17.7 GB/s so, 9.5 when every page is always dropped (CONTRIBUTING.md, "Decisions").
"""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref
from collections import deque
from typing import Any

import numpy as np

from enqueued.arena.segment import PAGE, SMALL, is_sealed, map_private
from enqueued.errors import ProtocolError

_PRESENT, _SWAPPED, _FILE = np.uint64(1 << 63), np.uint64(1 << 62), np.uint64(1 << 61)


class _Memory(mmap.mmap):
    """A mapping that holds on to whatever has to live as long as an array over it."""

    anchor: object = None


class Views:
    """The segments that this client has mapped and the views that are alive in the trainer.

    `freed` collects the tags of views whose last array is gone; the finalizer only appends to it, because it may run at
    any point of the trainer's program.
    """

    def __init__(self) -> None:
        self.anchor: object = None
        """Kept by every mapping, and so by every array of the trainer's."""
        self._mapped: dict[int, tuple[_Memory, int]] = {}
        self._alive: dict[Any, tuple[weakref.ref[np.ndarray[Any, Any]], int, int, int]] = {}
        self._doomed: set[int] = set()
        self.freed: deque[Any] = deque()
        self._pagemap = _open_pagemap()

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
            memory.anchor = self.anchor
            self._mapped[segment] = (memory, size)
        finally:
            os.close(fd)

    def copy(self, segment: int, offset: int, nbytes: int) -> np.ndarray[Any, Any]:
        """A private copy of a batch's bytes, independent of the arena."""
        memory = self._memory(segment, offset, nbytes)
        if nbytes < SMALL:
            return np.frombuffer(bytearray(memory[offset : offset + nbytes]), np.uint8)
        copy = np.empty(nbytes, np.uint8)
        copy[:] = np.frombuffer(memory, np.uint8, nbytes, offset)
        return np.frombuffer(copy.data, np.uint8)

    def view(self, tag: Any, segment: int, offset: int, nbytes: int) -> np.ndarray[Any, Any]:
        """The batch's bytes where they lie; `tag` comes back in `freed` when no array over them is left.

        The root is a fresh array over the mapping, and the leaves' bases end at it: NumPy collapses chains of arrays
        only up to one whose own base is no array.
        """
        memory = self._memory(segment, offset, nbytes)
        root = np.frombuffer(memory, np.uint8, nbytes, offset)
        freed = self.freed
        self._alive[tag] = (weakref.ref(root, lambda _: freed.append(tag)), segment, offset, nbytes)
        return root

    def _memory(self, segment: int, offset: int, nbytes: int) -> mmap.mmap:
        memory, size = self._mapped[segment]
        if offset < 0 or nbytes <= 0 or offset + nbytes > size:
            raise ProtocolError(f"a ticket names bytes {offset} to {offset + nbytes} of a segment of {size}")
        return memory

    def collect(self) -> list[Any]:
        """The tags of the views that are gone, their written pages dropped: their slots may be reused."""
        tags = []
        while self.freed:
            tag = self.freed.popleft()
            _, segment, offset, nbytes = self._alive.pop(tag)
            self._drop_written(self._mapped[segment][0], offset, nbytes)
            tags.append(tag)
            if segment in self._doomed:
                self._unmap(segment)
        return tags

    def _drop_written(self, memory: mmap.mmap, offset: int, nbytes: int) -> None:
        start = offset // PAGE * PAGE
        length = -(-(offset + nbytes - start) // PAGE) * PAGE
        if self._pagemap is None:
            memory.madvise(mmap.MADV_DONTNEED, start, length)
            return
        address = np.frombuffer(memory, np.uint8, 1).__array_interface__["data"][0] + start
        entries = np.frombuffer(os.pread(self._pagemap, length // PAGE * 8, address // PAGE * 8), np.uint64)
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
        if not any(row[1] == segment for row in self._alive.values()):
            self._doomed.discard(segment)
            memory, _ = self._mapped.pop(segment)
            with contextlib.suppress(BufferError):  # a root may die a moment later than its callback runs
                memory.close()

    def close(self) -> None:
        """Forget all segments; memory under arrays that the trainer still holds stays until they are gone."""
        self.abandon()
        if self._pagemap is not None:
            os.close(self._pagemap)
            self._pagemap = None

    def abandon(self) -> None:
        """Let go of the mappings without touching them: those under arrays stay until the arrays are gone."""
        self._alive.clear()
        self._mapped.clear()
        self.anchor = None


def _open_pagemap() -> int | None:
    try:
        return os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
