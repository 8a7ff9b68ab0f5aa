"""What each thread of a worker is doing right now, where the daemon can read it even after the worker has died."""

from __future__ import annotations

import mmap
import os
import struct
import time
from typing import NamedTuple

from enqueued.batch import Position

_ROW = struct.Struct("qqd")
_FIELDS = 3


class Doing(NamedTuple):
    """A position that is being made, and for how many seconds."""

    position: Position
    seconds: float


class Page:
    """A row for each lane (thread) of one worker, in memory that worker and daemon share."""

    def __init__(self, fd: int, lanes: int) -> None:
        self._memory = mmap.mmap(fd, lanes * _ROW.size)
        view = memoryview(self._memory)
        self._numbers, self._times = view.cast("q"), view.cast("d")
        """The same fields as whole numbers and as times; a store is one write, where `pack_into` writes zeros first."""
        self._lanes = lanes

    @classmethod
    def create(cls, lanes: int) -> tuple[Page, int]:
        """A page and the descriptor by which the worker maps it."""
        fd = os.memfd_create("enqueued-page", os.MFD_CLOEXEC)
        os.ftruncate(fd, lanes * _ROW.size)
        page = cls(fd, lanes)
        for lane in range(lanes):
            page.rest(lane)
        return page, fd

    def begin(self, lane: int, epoch: int, index: int) -> float:
        """This lane makes a position from now on, and that is the time.

        The epoch comes last: the daemon reads at any moment, and would take a new position with the time of no position
        for a make that has taken since the machine was started.
        """
        row = lane * _FIELDS
        self._numbers[row + 1] = index
        self._times[row + 2] = now = time.monotonic()
        self._numbers[row] = epoch
        return now

    def rest(self, lane: int) -> None:
        """This lane makes nothing."""
        self._numbers[lane * _FIELDS] = -1

    def doing(self, now: float) -> list[Doing]:
        """What is being made, the longest first."""
        rows = (_ROW.unpack_from(self._memory, lane * _ROW.size) for lane in range(self._lanes))
        found = [Doing((epoch, index), now - since) for epoch, index, since in rows if epoch >= 0]
        return sorted(found, key=lambda one: -one.seconds)
