"""A streamed source: its replicas are asked in turn, and what they give fills the positions in order."""

from __future__ import annotations

from collections import deque

from enqueued.arena.segment import Slot
from enqueued.batch import Position
from enqueued.pool.channel import Message
from enqueued.pool.interleave import Interleave
from enqueued.pool.pool import Pool
from enqueued.stream.core import Stream


class Replicas:
    """Where a streamed source stands: its epoch, whose turn it is, and the positions that are still to be filled."""

    def __init__(self, replicas: int, pool: Pool) -> None:
        self.owed: deque[Position] = deque()
        """Positions that were ordered and are not filled, in order."""
        self._replicas = replicas
        self._pool = pool
        self._epoch = 0
        self._interleave = Interleave(replicas)
        self._spoilt: Message | None = None
        """Why nothing more is given."""

    def pull(self, stream: Stream) -> None:
        """Order what there is room for, and ask the replicas for it."""
        room = self._replicas * self._pool.depth - len(self.owed)
        if room > 0 and self._pool.capacity():
            self.owed.extend((epoch, index) for epoch, index, _ in stream.orders(room))
        if self._spoilt is not None:
            self._spoil(stream, self._spoilt)
        elif self._pool.staffed:  # what a worker is asked before it listens would be lost if it died
            for seat, first, count in self._interleave.ask(len(self.owed)):
                self._pool.pull(seat, self._epoch, first, count)

    def awaited(self, seat: int, positions: set[Position]) -> bool:
        """Whether it is this replica's turn to fill one of these positions."""
        return seat == self._interleave.turn and bool(self.owed) and self.owed[0] in positions

    def give(self, stream: Stream, seat: int, batch: Slot | Message) -> None:
        """A replica has made its next batch, or several, or has failed to."""
        if isinstance(batch, Slot) and batch.cells > 1:
            for n in range(batch.cells):
                self._interleave.give(seat, batch.part(n, 1))
        else:
            self._interleave.give(seat, batch)
        self._fill(stream)

    def _fill(self, stream: Stream) -> None:
        for index, batch in self._interleave.take():
            position = self.owed.popleft() if self.owed else (self._epoch, index)
            if isinstance(batch, Slot):
                stream.made(position, batch)
            else:
                stream.failed(position, batch)

    def ended(self, stream: Stream, epoch: int, seat: int, *, last: bool) -> None:
        """A replica has come to the epoch's end; after all have, the next epoch begins, unless this was the last."""
        self._interleave.end(seat)
        self._fill(stream)
        if self._interleave.over:
            length = self._interleave.filled
            self.owed.clear()
            self._interleave = Interleave(self._replicas)
            self._epoch = epoch + 1
            stream.epoch_length(epoch, length)
            if last:
                stream.over_from((epoch + 1, 0))

    def lose(self, error: Message, remedy: str = "restart the daemon") -> None:
        """A replica's worker is gone, and with it where the source stood."""
        message = f"{error['message']}; a streamed source cannot go on from where it stood: {remedy}"
        self._spoilt = {**error, "message": message}

    def _spoil(self, stream: Stream, why: Message) -> None:
        """Give the reason at the next position, and nothing after it."""
        if self.owed:
            position = self.owed[0]
            stream.failed(position, why)
            self.owed.clear()
            stream.over_from((position[0], position[1] + 1))
