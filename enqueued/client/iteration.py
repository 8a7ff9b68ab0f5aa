"""The iterators that a client gives out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Self


class Ended:
    """Stands in the place of a batch for the end of an epoch."""


ENDED: Final = Ended()

Take = Callable[[], Any]
"""Gives the next batch, or `ENDED`; raises `StopIteration` when the stream is over."""


class Tally:
    """How many epochs the loop over `Client.epochs` has `done`, those of a loaded state included."""

    def __init__(self) -> None:
        self.done = 0
        self.resuming = False
        """Whether the next loop goes on from a state."""

    def load(self, done: int) -> None:
        """A state was loaded."""
        self.done, self.resuming = done, True

    def skip(self, most: int) -> bool:
        """An epoch turned out to be done already when the state was saved; whether another one is due."""
        if self.done + 1 < most:
            self.done += 1
            return True
        return False


class Epoch:
    """What is left of the current epoch; it can go on after a `SourceError`.

    With `resumed` an end that comes at once is that of an epoch that was taken whole before: `skip` is told, and says
    whether the next one takes its place.
    """

    def __init__(self, take: Take, *, resumed: bool = False, skip: Callable[[], bool] = lambda: True) -> None:
        self._take: Take | None = take
        self._resumed = resumed
        self._skip = skip

    @property
    def ended(self) -> bool:
        """Whether it was taken to its end."""
        return self._take is None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        take = self._take
        if take is None:
            raise StopIteration
        batch = take()
        if batch is ENDED and self._resumed and self._skip():
            batch = take()
        self._resumed = False
        if batch is ENDED:
            self._take = None
            raise StopIteration
        return batch


class Steps:
    """Batches across the ends of epochs, `most` of them or without end; it can go on after a `SourceError`."""

    def __init__(self, take: Take, most: int | None = None, finish: Callable[[], None] = lambda: None) -> None:
        self._take = take
        self._left = most
        self._finish = finish
        """Called when all that were asked for have been taken, and one more is."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._left is not None and self._left <= 0:
            self._finish()
            raise StopIteration
        batch = self._take()
        while batch is ENDED:
            batch = self._take()
        if self._left is not None:
            self._left -= 1
        return batch
