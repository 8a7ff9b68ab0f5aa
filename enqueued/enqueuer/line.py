"""The stream of one run, whose only member is given whatever is ready, and the feed that makes its batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from enqueued.batch import Position
from enqueued.errors import EnqueuedError
from enqueued.pool.channel import Message
from enqueued.pool.feed import Feed
from enqueued.pool.memory import Memory
from enqueued.pool.options import PoolOptions
from enqueued.pool.pool import Pool
from enqueued.pool.reactor import Reactor
from enqueued.pool.shares import Shares
from enqueued.source.spec import SourceSpec
from enqueued.stream.core import Stream
from enqueued.stream.plan import Stretch

CONSUMER = "consumer"
_NO_END = 1 << 60


class Line(Stream):
    """What is made ahead is bounded by what the consumer has not taken, not by what it holds."""

    untaken = 0
    """How many batches lie ready for the consumer."""
    waiting = False
    """Whether the consumer waits for one."""

    least = 1
    """So many batches are ordered together, where that saves messages; it goes on until there is no more room."""
    filling = True

    @property
    def room(self) -> int:
        """How many more batches may be made ahead."""
        return self.limit - self.window.queued - self.untaken

    def fill(self) -> bool:
        """Whether more should be ordered now."""
        room = self.room
        self.filling = room >= self.least or (self.filling and room > 0)
        return self.filling

    def orders(self, most: int, together: int = 1) -> list[Stretch]:
        room = self.room if self.fill() else 0
        return super().orders(min(most, room + len(self.again)))  # what is made again was counted the first time

    @property
    def starving(self) -> bool:
        return self.waiting


class LineFeed(Feed):
    """A feed whose epochs are opened by the calling program: `on_open` is asked for each."""

    def __init__(
        self,
        spec: SourceSpec,
        options: PoolOptions,
        *,
        reactor: Reactor,
        memory: Memory,
        on_open: Callable[[int], None],
        on_broken: Callable[[EnqueuedError], None],
    ) -> None:
        super().__init__(
            spec.target,
            spec,
            options,
            reactor=reactor,
            memory=memory,
            shares=Shares(),
            lag_timeout=float("inf"),
            on_broken=on_broken,
        )
        self._begin: Any = partial(Line, spec.target, max_queue_size=options.max_queue_size, lag_timeout_s=float("inf"))
        self._described = True  # nobody asks for the header, and it would cost a mapping of the first segment
        self._on_open = on_open
        self._seen = (0, 0)

    @property
    def line(self) -> Line:
        """The core; only once `ready`."""
        assert isinstance(self._stream, Line)
        return self._stream

    @property
    def pool(self) -> Pool:
        """The processes."""
        return self._pools.pool

    def only_made(self, line: Line) -> bool:
        """Whether there is news since the last call, and none that asks for more than to deliver what was made."""
        made, restarts = line.made_count, self.pool.restarts
        before, self._seen = self._seen, (made, restarts)
        return (
            made > before[0]
            and restarts == before[1]
            and self.facts["indexed"]
            and not (line.again or self.pool.waits or self._pools.claim.pressed)
        )

    def loaded(self, facts: Message) -> None:
        super().loaded(facts)
        self.stream.join(CONSUMER, start=(0, 0))
        self.stream.allow(CONSUMER, _NO_END)

    def _open(self, epoch: int) -> None:
        self._on_open(epoch)

    def failed(self, position: Position, error: Message, seat: int) -> None:
        """The user's code raised at a position: its own program is told, and the log is not."""
        if self.facts["indexed"]:
            self.stream.failed(position, error)
        else:
            self._replicas.give(self.stream, seat, error)

    def lost_replica(self, seat: int, error: Message) -> None:
        self._replicas.lose(error, "start the enqueuer again, with an iterator that begins where you want")

    def length(self, epoch: int, length: int, error: Message | None) -> None:
        """The pool does not count: the calling program does."""
