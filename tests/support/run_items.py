"""Runs of small batches, as a fake daemon sends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from enqueued import Client
from enqueued.codec.limits import aligned
from fake_daemon import FakeDaemon, encoded


def batch(index: int) -> Any:
    """One that tells its index; all have one layout."""
    return np.full(9, index, "<i4"), {"text": "same", "more": np.array([index, -index])}


def laid_out(batches: list[Any]) -> tuple[bytes, int, int]:
    """Batches in cells that follow each other: the bytes, how long each is, and how far they lie apart."""
    roots = [encoded(one) for one in batches]
    nbytes = max(map(len, roots))
    step = aligned(nbytes) + 64
    whole = b"".join(root.ljust(step, b"\xa5") for root in roots)
    return whole[: (len(roots) - 1) * step + nbytes], nbytes, step


class Runs:
    """Items of BATCHES for runs that follow each other, in segments or as frames; put them into a daemon first."""

    def __init__(self, daemon: FakeDaemon, *, frames: bool) -> None:
        self.daemon = daemon
        self.frames = frames
        self.lease = self.segment = 0
        self._items: list[list[int]] = []
        self._frames: tuple[bytes, ...] = ()

    def add(self, first: int, batches: list[Any], generation: int = 0, epoch: int = 0, flags: int = 0) -> None:
        """Put one run in line."""
        whole, nbytes, step = laid_out(batches)
        head = [self.lease, generation, epoch, first, flags]
        self.lease += len(batches)
        self.segment += 1
        if self.frames:
            item = [1, *head, len(batches), step]
        else:
            self.daemon.put(self.segment, bytes(192) + whole)
            item = [0, *head, self.segment, 192, nbytes, len(batches), step]
        self._items.append(item)
        self._frames += (whole,) * self.frames

    def send(self, *more: list[int]) -> None:
        """Send what is in line, and other items behind it, as one message."""
        self.daemon.send("BATCHES", [*self._items, *more], [], frames=self._frames)
        self._items, self._frames = [], ()


def told(daemon: FakeDaemon, which: int) -> list[int]:
    """The leases that were acknowledged (1) or given back (2), each as often as it was."""
    takes = [message[which] for message in daemon.heard if message[0] == "TAKE"]
    return sorted(first + n for runs in takes for first, count in runs for n in range(count))


def client_of(daemon: FakeDaemon, **arguments: Any) -> Client:
    """A client that does not wait for ever."""
    return Client(daemon.endpoint, connect_timeout=5.0, **{"batch_timeout": 5.0, **arguments})


def giving(send: Callable[[Runs], None], frames: bool) -> Callable[[FakeDaemon, list[Any]], None]:
    """Sends these to the first session that gives credit."""
    sent: list[Runs] = []

    def reply(daemon: FakeDaemon, message: list[Any]) -> None:
        if not sent:
            sent.append(Runs(daemon, frames=frames))
            send(sent[0])

    return reply


def two_runs(runs: Runs) -> None:
    """Batches 0 to 19 of an epoch, in two."""
    runs.add(0, [batch(index) for index in range(12)])
    runs.add(12, [batch(index) for index in range(12, 20)])
    runs.send()
