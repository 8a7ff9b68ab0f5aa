"""What is under way to a client that is served by socket: as it is, or compressed where that pays."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

from enqueued.server.endpoint import Endpoint, Sent
from enqueued.server.flow import Gauge
from enqueued.server.gain import Gain
from enqueued.server.press import Press
from enqueued.wire.compression import LEAST_BYTES, ZSTD, compress
from enqueued.wire.messages import BATCHES, FRAME, pack

Runs = list[tuple[int, int]]
"""Leases, as `[first, count]`."""

_SAMPLE_BYTES = 512 * 1024


class Outbox:
    """Sends frames from where they lie; `settle` tells whose memory is not read any more."""

    def __init__(self, endpoint: Endpoint, peer: bytes) -> None:
        self._endpoint = endpoint
        self._peer = peer
        self._sending: deque[tuple[Sent, Runs]] = deque()

    def put(self, items: list[Any], views: list[memoryview], leases: Runs) -> bool:
        """Send items, and the frames of those that are frames, whose leases are given in the same order.

        The memory is in use for as long as anybody holds one of these very views, so the caller lets go of them. False
        when the client is gone or does not read.
        """
        return self._send(items, views, leases)

    def _send(self, items: list[Any], frames: Sequence[memoryview], leases: Runs) -> bool:
        sent = self._endpoint.send(self._peer, pack(BATCHES, items, []), frames)
        if sent is None:
            return False
        if leases:
            self._sending.append((sent, leases))
        return True

    def advance(self) -> bool:
        """Send what has become ready; False when the client is gone or does not read."""
        return True

    def settle(self) -> Runs:
        """Leases whose memory nobody reads any more, each once."""
        found: Runs = []
        while self._sending and self._sending[0][0].over:
            found += self._sending.popleft()[1]
        return found

    @property
    def compression(self) -> float:
        """How many bytes of batches went for a byte that was sent, of late."""
        return 1.0

    @property
    def pinned(self) -> Runs:
        """Leases whose memory is read still."""
        return [run for _, leases in self._sending for run in leases]

    def close(self) -> None:
        """The client is gone: nothing more is sent."""


class _Pressed(NamedTuple):
    """The frames of a message, each compressed or None where that saves too little, and how long it took."""

    frames: list[bytes | None]
    took_s: float


class _Letter(NamedTuple):
    """A message that waits for its frames to be compressed, or behind one that does."""

    items: list[Any]
    views: list[memoryview]
    leases: Runs
    pressed: Future[_Pressed] | None

    @property
    def ready(self) -> bool:
        return self.pressed is None or self.pressed.done()

    def abandon(self) -> bool:
        """Whether a thread reads its memory at this moment; else none will any more."""
        return self.pressed is not None and not self.pressed.cancel() and not self.pressed.done()


class CompressingOutbox(Outbox):
    """Compresses frames in threads while that pays, and keeps the order; `on_done` is called when to `advance`."""

    def __init__(
        self, endpoint: Endpoint, peer: bytes, gauge: Gauge, press: Press, on_done: Callable[[], None]
    ) -> None:
        super().__init__(endpoint, peer)
        self._gauge = gauge
        self._press = press
        self._on_done = on_done
        self._gain = Gain(time.monotonic())
        self._waiting: deque[_Letter] = deque()
        self._free: Runs = []
        self._counted = self._closed = False

    @property
    def compression(self) -> float:
        return self._gain.ratio if self._gain.on else 1.0

    def put(self, items: list[Any], views: list[memoryview], leases: Runs) -> bool:
        if views:
            self._decide(views)
        if views and self._gain.on:
            pressed = self._press.submit(partial(_press, views), self._on_done)
            self._waiting.append(_Letter(items, views, leases, pressed))
            return True
        if self._waiting:
            self._waiting.append(_Letter(items, views, leases, None))
            return True
        return self._go(items, views, leases, views)

    def _go(self, items: list[Any], views: list[memoryview], leases: Runs, frames: Sequence[memoryview]) -> bool:
        if views:
            self._gain.sent(_nbytes(views), _nbytes(frames))
        return self._send(items, frames, leases)

    def advance(self) -> bool:
        while self._waiting and self._waiting[0].ready:
            letter = self._waiting.popleft()
            if self._closed:
                self._free += letter.leases
            elif not self._go(letter.items, letter.views, *self._fold(letter)):
                return False
        return True

    def _fold(self, letter: _Letter) -> tuple[Runs, list[memoryview]]:
        """Put what was compressed in its place: the leases that are still to be read, and the frames."""
        if letter.pressed is None:
            return letter.leases, list(letter.views)
        places = [item for item in letter.items if item[0] == FRAME]
        leases: Runs = []
        frames: list[memoryview] = []
        made = letter.pressed.result().frames
        for item, view, run, smaller in zip(places, letter.views, letter.leases, made, strict=True):
            if smaller is None:
                leases.append(run)
                frames.append(view)
            else:
                item += [ZSTD, view.nbytes]
                self._free.append(run)
                frames.append(memoryview(smaller))
        return leases, frames

    def settle(self) -> Runs:
        found, self._free = self._free, []
        return found + super().settle()

    @property
    def pinned(self) -> Runs:
        return [run for letter in self._waiting for run in letter.leases] + self._free + super().pinned

    def close(self) -> None:
        self._closed = True
        self._waiting = deque(letter for letter in self._waiting if letter.abandon())
        self._count(on=False)

    # -- deciding -----------------------------------------------------------------------------------------------

    def _decide(self, views: list[memoryview]) -> None:
        now = time.monotonic()
        if self._gain.due(now):
            flow = self._gauge.read()
            if flow is not None:
                self._gain.judge(now, flow.acked, flow.busy_s)
                self._count(on=self._gain.on)
        view = max(views, key=lambda view: view.nbytes)
        if view.nbytes >= LEAST_BYTES and self._gain.curious(now):
            start = max(0, view.nbytes - _SAMPLE_BYTES) // 2
            sample = memoryview(bytes(view[start : start + _SAMPLE_BYTES]))  # so that nobody waits for its slot
            pressed = self._press.submit(partial(_press, [sample]), lambda: self._learn(sample, pressed))

    def _learn(self, sample: memoryview, pressed: Future[_Pressed]) -> None:
        if not self._closed and not pressed.cancelled():
            (smaller,), took_s = pressed.result()
            ratio = 1.0 if smaller is None else sample.nbytes / len(smaller)
            self._gain.learn(time.monotonic(), ratio, sample.nbytes / took_s * self._press.share)
            self._count(on=self._gain.on)

    def _count(self, *, on: bool) -> None:
        self._press.users += on - self._counted
        self._counted = on


def _press(views: list[memoryview]) -> _Pressed:
    began = time.perf_counter()
    frames = [compress(view) for view in views]
    return _Pressed(frames, time.perf_counter() - began)


def _nbytes(frames: Sequence[memoryview]) -> int:
    return sum(frame.nbytes for frame in frames)
