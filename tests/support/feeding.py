"""A stream and its pool in the test's own process, without a server, and the proof that nothing is left of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from enqueued.batch import Position
from enqueued.codec.decode import decode
from enqueued.errors import EnqueuedError
from enqueued.pool.feed import Feed
from enqueued.pool.generation import BootedRoot
from enqueued.pool.memory import Memory
from enqueued.pool.options import PoolOptions
from enqueued.pool.reactor import Reactor
from enqueued.pool.shares import Shares
from enqueued.source.spec import SourceSpec
from enqueued.stream.decisions import Deliver, EndEpoch

T = TypeVar("T")


class Feeding:
    """A feed in its loop. A context manager: on leaving, every process has ended and every segment is closed.

    `taken` collects what the member `one` was given: positions with batches, or with the message of an error. Other
    members keep what they are given.
    """

    def __init__(self, target: str, *, app_dir: str, workers: int = 1, args: dict[str, Any] | None = None, **feed: Any):
        self.loop = Reactor()
        self.memory = Memory(1 << 28)
        self.broken: list[EnqueuedError] = []
        self.taken: list[tuple[Position, Any]] = []
        self.ended: list[tuple[int, int]] = []
        options = PoolOptions(workers=workers, max_queue_size=feed.pop("max_queue_size", 4))
        spec = SourceSpec(feed.pop("kind", "sequence"), target, args or {}, app_dir=app_dir)
        self.feed = Feed(
            "default",
            spec,
            options,
            reactor=self.loop,
            memory=self.memory,
            shares=Shares(),
            lag_timeout=10.0,
            on_broken=self.broken.append,
            **feed,
        )
        self._limit = 0
        self._lease: list[tuple[int, int]] = []

    def turn(self) -> None:
        """One turn of the loop."""
        self.loop.turn(0.005)
        self.feed.step(time.monotonic())
        for decision in self.feed.decisions():
            if isinstance(decision, EndEpoch):
                self.ended.append((decision.epoch, decision.length))
            elif isinstance(decision, Deliver) and decision.member == "one":
                batch: Any = decision.error["message"] if decision.error is not None else None
                if decision.slot is not None:
                    batch = decode(np.frombuffer(bytearray(self.memory.table.view(decision.slot)), np.uint8))
                self.taken.append((decision.position, batch))
                self._lease = [(decision.lease, 1)]
                self.feed.stream.release("one", self._lease)
                if len(self.taken) < self._limit:
                    self.feed.stream.done("one", self._lease)

    def until(self, predicate: Callable[[], T], within: float = 20.0, what: str = "") -> T:
        """Turn until `predicate` gives something true, which is returned."""
        deadline = time.monotonic() + within
        while not (result := predicate()):
            self.turn()
            assert not self.broken, self.broken
            assert time.monotonic() < deadline, f"not within {within:g} s: {what or predicate}"
        return result

    def join(self, start: Position = (0, 0)) -> None:
        """Let the member `one` begin."""
        self.feed.stream.join("one", start=start)

    def take(self, count: int) -> list[tuple[Position, Any]]:
        """The next batches of the member `one`; it holds the last of them."""
        before = len(self.taken)
        self._limit = before + count
        self.feed.stream.allow("one", 1)
        self.feed.stream.done("one", self._lease)
        self.until(lambda: len(self.taken) >= self._limit, what=f"{count} batches")
        return self.taken[before:]

    @property
    def zygote(self) -> int:
        """The pid of the first zygote."""
        root = self.feed._pools.pool._root
        assert isinstance(root, BootedRoot)
        return root.process.pid

    def canary(self, epoch: int) -> str:
        """The canary of an epoch."""
        return self.until(lambda: self.feed.canary(epoch)) or ""

    def __enter__(self) -> Self:
        self.feed.start()
        self.until(lambda: self.feed.ready)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.feed.kill()
        assert not self.loop._callbacks, "a channel is left open"
        self.loop.close()
        self.memory.table.close()
