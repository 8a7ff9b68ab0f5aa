"""Where a trainer is in its stream, and what comes next: pure, so that every history can be replayed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from enqueued.batch import Position
from enqueued.client.ranks import Share
from enqueued.wire.messages import PADDED


class Course:
    """The way of one client through positions.

    `index` is the next one of its own in `epoch`. A rank r of W has its own at `base + s*W + r`, step s after step s,
    also beyond the end where a step is padded; all others count by one. `ahead` are indices beyond `index` that were
    taken already, out of order. A split group's members have no next one: `index` follows what came last.
    """

    __slots__ = ("_ended", "_stride", "_sure", "ahead", "base", "epoch", "follows", "index", "length", "moved", "share",
                 "steady", "window")  # fmt: skip

    def __init__(self, share: Share) -> None:
        self.share = share
        self._stride = share.world_size
        self.epoch = self.index = self.base = 0
        self.moved = False
        """Whether something of this epoch was taken since the course began there."""
        self.ahead: set[int] = set()
        self.follows = False
        """Whether what comes next is known: an indexed source, and no split group."""
        self.steady = True
        """Whether epochs are as long as each other."""
        self.window = 0
        """How far ahead of the next one a batch may come."""
        self.length: int | None = None
        """Batches in the epoch for all, as far as it is known; the source of a client with one only."""
        self._sure = self._ended = -1

    # -- where it stands ----------------------------------------------------------------------------------------

    def begin(self, epoch: int, index: int, base: int = 0, ahead: Iterable[int] = (), *, again: bool = False) -> None:
        """Stand somewhere, where nothing of the epoch was taken by this client.

        With `again` that is after a crash, and epochs that have ended stay so.
        """
        self.epoch, self.index, self.base = epoch, index, base
        self._ended = self._ended if again else epoch - 1
        self.moved = False
        self.ahead = set(ahead)

    def learn(self, epoch: int, length: int | None) -> None:
        """An epoch has so many batches."""
        if length is not None:
            self.length, self._sure = length, epoch

    @property
    def rest(self) -> bool:
        """Whether the epoch's beginning is not to come: what follows may be nothing but its end."""
        return self.index > (self.share.rank or 0)

    @property
    def spent(self) -> bool:
        """Whether all of an epoch was taken, if it is as long as is thought."""
        return self.follows and self.length is not None and self._steps_taken() >= self.steps(self.length - self.base)

    @property
    def sure(self) -> bool:
        """Whether the length of this very epoch is known."""
        return self.steady or self._sure == self.epoch

    def steps(self, batches: int) -> int:
        """How many of so many batches this client gets."""
        left = max(0, batches)
        return left // self._stride if self.share.tail == "drop" else -(-left // self._stride)

    def _steps_taken(self) -> int:
        return (self.index - self.base) // self._stride

    @property
    def next_step(self) -> Position:
        """The position that follows everything that was taken: of all ranks, if they are as far as this one."""
        if self.spent and self.sure:
            return self.epoch + 1, 0
        return self.epoch, self.index - (self.share.rank or 0)

    # -- what comes ---------------------------------------------------------------------------------------------

    def admits(self, item: list[Any]) -> bool:
        """Whether a batch may come now; if not, others were lost on the way."""
        if not self.follows:
            return True
        epoch, index = item[3], item[4]
        if epoch != self.epoch:
            return False
        if index == self.index or (self.share.rank is not None and item[5] & PADDED):
            return True
        return self.index < index <= self.index + self.window and index not in self.ahead

    def take(self, epoch: int, index: int) -> None:
        """A batch is taken, one that `admits` has let pass."""
        self.moved = True
        if not self.follows:
            self.epoch, self.index = epoch, index + self._stride
        elif index > self.index and self.share.rank is None:
            self.ahead.add(index)
        else:
            self.index += self._stride
            while self.ahead and self.index in self.ahead:
                self.ahead.remove(self.index)
                self.index += 1

    def repeats(self, epoch: int) -> bool:
        """Whether this end of an epoch was told before, by a daemon that was killed and did not remember."""
        return self.share.split and epoch <= self._ended

    def end(self, epoch: int, length: int) -> bool:
        """An epoch has ended; False when something of it is missing."""
        self.learn(epoch, length)
        if self.follows and (epoch != self.epoch or not self.spent):
            return False
        self.begin(epoch + 1, self.share.rank or 0)
        return True

    # -- what a HELLO says of it --------------------------------------------------------------------------------

    def claim(self) -> dict[str, Any]:
        """The fields of a claim that goes on just here."""
        if self.share.split:
            return {"start": (self.epoch, 0), "returning": True}
        claim: dict[str, Any] = {"start": (self.epoch, self.index)}
        if self.share.rank is not None:
            claim |= {"base": (self.epoch, self.base), "returning": True}
        claim["taken"] = tuple((self.epoch, index) for index in sorted(self.ahead))
        return claim
