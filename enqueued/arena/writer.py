"""The arena as a worker sees it: cells to write batches into."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable

from enqueued.arena.cells import Cells
from enqueued.arena.segment import Slot, cell_size, cells_per_segment, create_segment, segment_size

_slot = tuple.__new__
"""Makes a slot in a third of the time."""


class _Segment:
    __slots__ = ("cell_bytes", "cells", "memory", "size", "taken", "view")

    def __init__(self, memory: mmap.mmap, size: int, cell_bytes: int) -> None:
        self.memory = memory
        self.view = memoryview(memory)
        self.size = size
        self.cell_bytes = cell_bytes
        self.cells = cells_per_segment(cell_bytes)
        self.taken = 0


class Arena:
    """The segments of one worker.

    `publish(segment, fd, size)` hands a new segment on, `withdraw(segment)` says that one is closed. New segments are
    created only within `allowance` (bytes), which grows as the daemon grants more.
    """

    def __init__(self, number: int, publish: Callable[[int, int, int], None], withdraw: Callable[[int], None]) -> None:
        self._number = number
        self._publish = publish
        self._withdraw = withdraw
        self._segments: dict[int, _Segment] = {}
        self._free: dict[int, Cells] = {}
        """The free cells of each size class."""
        self._size = (0, 0)
        """The size of the last batch, and of its cell."""
        self._next = 0
        self.allowance = 0

    def take(self, nbytes: int) -> tuple[Slot, memoryview] | None:
        """A cell for a batch and the memory to write it to; None when that needs more than the allowance."""
        if nbytes != self._size[0]:
            self._size = nbytes, cell_size(nbytes)
        cell_bytes = self._size[1]
        free = self._free.get(cell_bytes)
        place = free.take() if free is not None else None
        if place is None:
            if segment_size(cell_bytes) > self.allowance:
                self._close_idle()  # the daemon grants anew what has come back to it
                return None
            place = self._grow(cell_bytes)
        number, offset = place
        segment = self._segments[number]
        segment.taken += 1
        return _slot(Slot, (number, offset, nbytes, 1)), segment.view[offset : offset + nbytes]

    def missing(self, nbytes: int) -> int:
        """How many bytes of allowance a batch of this size lacks."""
        return max(0, segment_size(cell_size(nbytes)) - self.allowance)

    def give(self, number: int, offset: int, count: int = 1) -> None:
        """Cells that follow each other are free again."""
        segment = self._segments.get(number)
        if segment is not None:
            segment.taken -= count
            self._free[segment.cell_bytes].give(number, offset, count)

    def close(self, number: int) -> bool:
        """Give a segment back if none of its cells is taken."""
        segment = self._segments.get(number)
        if segment is None or segment.taken:
            return False
        del self._segments[number]
        self._free[segment.cell_bytes].forget(number)
        segment.view.release()
        segment.memory.close()
        self._withdraw(number)
        return True

    def _close_idle(self) -> None:
        """Close every segment that holds no batch: a batch of another size needs the memory."""
        for number in list(self._segments):
            self.close(number)

    def _grow(self, cell_bytes: int) -> tuple[int, int]:
        """Make a segment; its first cell."""
        size = segment_size(cell_bytes)
        number = (self._number << 20) | self._next
        self._next += 1
        fd, memory = create_segment(f"enqueued-{number:x}", size)
        try:
            self._publish(number, fd, size)
        finally:
            os.close(fd)
        self.allowance -= size
        segment = self._segments[number] = _Segment(memory, size, cell_bytes)
        free = self._free.setdefault(cell_bytes, Cells(cell_bytes))
        if segment.cells > 1:
            free.give(number, cell_bytes, segment.cells - 1)
        return number, 0
