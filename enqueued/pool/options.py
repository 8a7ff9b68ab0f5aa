"""How a pool is run, and what it tells whoever runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from enqueued.arena.segment import Slot
from enqueued.batch import Position
from enqueued.errors import EnqueuedError
from enqueued.pool.channel import Message
from enqueued.pool.generation import BootedRoot, Root
from enqueued.pool.memory import Claim
from enqueued.pool.reactor import Reactor
from enqueued.pool.shares import Shares
from enqueued.source.spec import SourceSpec


@dataclass(frozen=True)
class PoolOptions:
    """The settings of a pool, by their names there; times are seconds, `make_timeout` 0 means any time."""

    workers: int = 1
    threads: bool = False
    start_method: str = "auto"
    max_generations: int = 4
    max_queue_size: int = 10
    load_timeout: float = 300.0
    make_timeout: float = 0.0
    root: Callable[[Message], Root] = BootedRoot
    """Makes the first zygote, which is to load what it is told."""


@dataclass(frozen=True)
class Means:
    """What every pool of a stream is given, also when the source is loaded again."""

    spec: SourceSpec
    options: PoolOptions
    reactor: Reactor
    claim: Claim
    """What the stream has of the memory."""
    shares: Shares
    """The right to be busy, of all streams."""


class PoolEvents(Protocol):
    """What a pool tells whoever runs it; the calls come from within the reactor's callbacks and from `step`."""

    def loaded(self, facts: Message) -> None:
        """The source is there; `facts` is what the zygote found out about it."""

    def made(self, position: Position, slot: Slot, seat: int) -> None:
        """A batch lies in a slot."""

    def failed(self, position: Position, error: Message, seat: int) -> None:
        """The user's code raised at a position."""

    def lost(self, position: Position, error: Message, *, killed: bool) -> None:
        """The worker that had a position is gone; `killed` when it was making just that one."""

    def lost_replica(self, seat: int, error: Message) -> None:
        """The worker of a streamed source is gone, and its state with it."""

    def length(self, epoch: int, length: int, error: Message | None) -> None:
        """An epoch has so many batches, or cannot be opened."""

    def ended(self, epoch: int, seat: int) -> None:
        """A replica of a streamed source has come to the epoch's end."""

    def broken(self, error: EnqueuedError) -> None:
        """The pool cannot go on."""
