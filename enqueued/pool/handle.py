"""The daemon's side of one worker: what it was ordered, and what is still to be told to it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterable

from enqueued.arena.segment import Slot
from enqueued.batch import Position
from enqueued.pool.channel import Channel, Message
from enqueued.pool.page import Page
from enqueued.stats import WorkerStats
from enqueued.stream.plan import Stretch

log = logging.getLogger("enqueued.pool")

_MOST_FREES = 1000
_FEW_BYTES = 64 * 1024
"""So much freed memory is not worth a message of its own, unless it is waited for."""


class WorkerHandle:
    """One worker process. Orders, freed slots and grants are collected and sent together by `flush`.

    A worker to which something is to be sent is in `unsent`.
    """

    def __init__(
        self, number: int, seat: int, lanes: int, channel: Channel, page: Page, unsent: dict[WorkerHandle, None]
    ) -> None:
        self.number = number
        self.seat = seat
        self.lanes = lanes
        self.channel = channel
        self.page = page
        self.pid = 0
        self._unsent = unsent
        self._began = self._fed = time.monotonic()
        self.up = False
        self.stopping = False
        self.aborted: set[Position] = set()
        """The positions that took too long and for which it was ended."""
        self._ordered: dict[Position, int] = {}
        """Stretches that it was ordered and has not answered: how many positions from which on."""
        self.owing = 0
        """How many positions that are."""
        self.asked: set[int] = set()
        """Epochs whose length it was asked for."""
        self.canaries: set[int] = set()
        """Epochs whose canary it was asked for."""
        self.needs: dict[Position, int] = {}
        """The positions for which it waits for memory, and how many bytes each lacks."""
        self.granted = 0
        """Bytes that it may allocate and has not."""
        self.made = 0
        self.busy_us = 0
        self._make: list[tuple[int, int, int]] = []
        self._single = False
        """Whether the last of these is made of single positions."""
        self._free: list[tuple[int, int, int]] = []
        self._freed_bytes = 0
        self._close: list[int] = []
        self._length: list[int] = []
        self._canary: list[int] = []
        self._grant = 0
        self._quit = False

    @property
    def age_s(self) -> float:
        """Seconds since it was asked for."""
        return time.monotonic() - self._began

    def _mark(self) -> None:
        self._unsent[self] = None

    def order(self, stretches: Iterable[Stretch]) -> None:
        """Have positions made, in this order; single ones that are neighbours travel together."""
        self._mark()
        for stretch in stretches:
            epoch, first, count = stretch
            self._ordered[epoch, first] = count
            self.owing += count
            before = self._make[-1] if self._make and self._single and count == 1 else (-1, 0, 0)
            if before[0] == epoch and before[1] + before[2] == first:
                self._make[-1] = (epoch, before[1], before[2] + 1)
            else:
                self._make.append(stretch)
            self._single = count == 1

    @property
    def outstanding(self) -> list[Position]:
        """Positions that it was ordered and has not answered."""
        return [(epoch, first + n) for (epoch, first), count in self._ordered.items() for n in range(count)]

    def pull(self, epoch: int, first: int, count: int) -> None:
        """Have a replica of a streamed source make its next `count` batches; the first of them is at `first`."""
        self._mark()
        self._make.append((epoch, first, count))

    def answered(self, position: Position, count: int = 1) -> None:
        """It has made so many positions from one on, or failed to; if it waited for memory, a slot came free for it."""
        (epoch, index), ordered = position, self._ordered
        if self.needs:
            for n in range(count):
                self.needs.pop((epoch, index + n), None)
        while count:
            known = ordered.pop((epoch, index), 0)
            if not known:
                known = self._divide(epoch, index)
            among = min(known, count) or 1
            if known > among:
                ordered[epoch, index + among] = known - among
            self.owing -= min(known, among)
            index, count = index + among, count - among

    def _divide(self, epoch: int, index: int) -> int:
        """Divide a stretch at a position, as for a thread that is done before others; how much is there from it on."""
        for (other, first), count in self._ordered.items():
            if other == epoch and first < index < first + count:
                self._ordered[other, first] = index - first
                return first + count - index
        return 0  # of a streamed source, or it was not asked for

    def free(self, slot: Slot) -> None:
        """A slot of this worker's may be written again."""
        segment, offset, nbytes, cells = slot
        self._free.append((segment, offset, cells))
        self._freed_bytes += nbytes * cells
        if self.needs or self._freed_bytes > _FEW_BYTES:
            self._mark()

    def need(self, position: Position, nbytes: int) -> None:
        """It lacks so many bytes for a position; perhaps some have come free already."""
        self.needs[position] = nbytes
        if self._free:
            self._mark()

    def grant(self, position: Position, nbytes: int) -> None:
        """Let it allocate this many bytes more, for a position that waits for them."""
        self._mark()
        self._grant += nbytes
        self.granted += nbytes
        self.needs.pop(position, None)
        self._fed = time.monotonic()

    def close_segments(self, segments: Iterable[int]) -> None:
        """Have it give segments back that hold no batch."""
        self._mark()
        self._close.extend(segments)

    def ask_length(self, epoch: int) -> None:
        """Have it read the length of an epoch."""
        self._mark()
        self.asked.add(epoch)
        self._length.append(epoch)

    def ask_canary(self, epoch: int) -> None:
        """Have it make the checksum of an epoch's first batch, before what it was ordered."""
        self._mark()
        self.canaries.add(epoch)
        self._canary.append(epoch)

    def flush(self) -> None:
        """Send what was collected, as far as its socket takes it; the rest goes with the next call."""
        freed = self._free and (self.needs or self._freed_bytes > _FEW_BYTES)
        self._unsent.pop(self, None)
        while self._make or freed or self._close or self._length or self._canary or self._grant or self._quit:
            message: Message = {}
            if self._quit:
                message["quit"] = 1
            if self._make:
                message["make"] = self._make[:_MOST_FREES]
            if self._free:
                message["free"] = self._free[:_MOST_FREES]
            if self._close:
                message["close"] = self._close
            if self._length:
                message["length"] = self._length
            if self._canary:
                message["canary"] = self._canary
            if self._grant:
                message["grant"] = self._grant
            try:
                if not self.channel.try_send(message):
                    self._mark()
                    return
            except OSError:  # it is dying: its zygote will say so
                pass
            self._make, self._free = self._make[_MOST_FREES:], self._free[_MOST_FREES:]
            freed = self._free
            if not freed:
                self._freed_bytes = 0
            self._close, self._length, self._canary, self._grant, self._quit = [], [], [], 0, False

    def quit(self) -> None:
        """Have it end after the batch that it is making."""
        self._mark()
        self.stopping = self._quit = True

    def end_if_slow(self, limit_s: float, now: float) -> None:
        """Kill it when it makes a batch for too long; on the first signal it writes its stacks."""
        if not self.pid:
            return
        slow = [one for one in self.page.doing(now) if one.seconds >= limit_s and one.position not in self.needs]
        if not slow or now - self._fed < limit_s:  # time in which it waited for memory does not count
            return
        (epoch, index), seconds = slow[0]
        with contextlib.suppress(ProcessLookupError):
            if not self.aborted:
                self.aborted = {one.position for one in slow}
                log.error("worker %d makes %d:%d for %.1f s; it is ended", self.seat, epoch, index, seconds)
                os.kill(self.pid, signal.SIGABRT)
            elif seconds > limit_s + 1:
                os.kill(self.pid, signal.SIGKILL)

    def stats(self) -> WorkerStats:
        """A snapshot."""
        busy = "waiting for memory" if self.needs else "busy" if self.owing else "idle"
        return WorkerStats(
            f"worker {self.seat}", self.pid, busy if self.up else "starting", self.made, self.busy_us / 1e6
        )
