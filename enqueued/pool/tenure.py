"""One pool of a stream, and the epochs whose batches are its own to make."""

from __future__ import annotations

from enqueued.arena.segment import Slot
from enqueued.batch import Position
from enqueued.errors import EnqueuedError
from enqueued.pool.channel import Message
from enqueued.pool.options import Means, PoolEvents
from enqueued.pool.pool import Pool


class Tenure:
    """One pool from its beginning until it is replaced: what it tells of epochs that are another's is not passed on.

    The same position may be on its way in two pools, when the source was loaded again while it was being made.
    """

    def __init__(self, means: Means, events: PoolEvents) -> None:
        self.pool = Pool(means, self)
        self.epochs = range(0)
        """The epochs that it makes; none before it replaces another, and none after it was replaced."""
        self.failure: EnqueuedError | None = None
        """Why it cannot go on."""
        self._events = events

    @property
    def listens(self) -> bool:
        """Whether its source is loaded, and a worker has been made from it."""
        return any(worker.up for worker in self.pool.workers())

    def loaded(self, facts: Message) -> None:
        """The source is there; a pool that is to replace another begins later."""
        if self.epochs:
            self._events.loaded(facts)

    def made(self, position: Position, slot: Slot, seat: int) -> None:
        """A batch lies in a slot."""
        if position[0] in self.epochs:
            self._events.made(position, slot, seat)
        else:
            self.pool.free(slot)

    def failed(self, position: Position, error: Message, seat: int) -> None:
        """The user's code raised at a position."""
        if position[0] in self.epochs:
            self._events.failed(position, error, seat)

    def lost(self, position: Position, error: Message, *, killed: bool) -> None:
        """The worker that had a position is gone."""
        if position[0] in self.epochs:
            self._events.lost(position, error, killed=killed)

    def lost_replica(self, seat: int, error: Message) -> None:
        """The worker of a streamed source is gone."""
        self._events.lost_replica(seat, error)

    def length(self, epoch: int, length: int, error: Message | None) -> None:
        """An epoch has so many batches, or cannot be opened."""
        if epoch in self.epochs:
            self._events.length(epoch, length, error)

    def ended(self, epoch: int, seat: int) -> None:
        """A replica of a streamed source has come to the epoch's end."""
        self._events.ended(epoch, seat)

    def broken(self, error: EnqueuedError) -> None:
        """The pool cannot go on."""
        self.failure = error
