"""Sources that only go forward: generator functions, iterables and iterators."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from enqueued.errors import SourceError
from enqueued.source.failure import load_error
from enqueued.source.seeding import OPENING, at, seed_generators
from enqueued.source.spec import SourceSpec


class EndOfEpoch(Exception):
    """The epoch's iterator is exhausted: there is no batch at this position or after it."""


class StreamedSource:
    """A source with one iterator per epoch; `one_epoch` says that the user gave an iterator, which cannot start again.

    `start` begins an epoch: it calls the factory, or `iter` on the user's iterable. The iterator is not made before
    `open`, so that it begins in the process that reads it.
    """

    def __init__(
        self, spec: SourceSpec, user: Any, start: Callable[[], Iterator[Any]], *, one_epoch: bool = False
    ) -> None:
        self.spec = spec
        self.user = user
        self.one_epoch = one_epoch
        self.seeds_globals = True
        self._start = start
        self._iterator: Iterator[Any] | None = None
        self._epoch = -1
        self._last = -1

    def open(self, epoch: int) -> None:
        """Begins an epoch from its first batch; what was open is closed.

        Raises LoadError when the user's code raises or gives no iterator, SourceError when there is no such epoch.
        """
        if self.one_epoch and self._epoch >= 0:
            raise SourceError(
                f"{self.spec.target} is an iterator: it goes through once, and epoch {epoch} would begin again; "
                f"give a generator function or an iterable",
                epoch=epoch,
            )
        self.close()
        self._seed(epoch, OPENING)
        self._iterator = self._start()
        self._epoch = epoch
        self._last = -1

    def make(self, epoch: int, index: int) -> Any:
        """The next batch, at this position. Raises EndOfEpoch after the last one, SourceError for one that has passed.

        With replicas the indices of one replica are `replicas` apart; it is the caller who interleaves them.
        """
        if self._iterator is None or epoch != self._epoch:
            raise SourceError(f"epoch {epoch} of {self.spec.target} is not open", epoch=epoch, index=index)
        if index <= self._last:
            raise SourceError(
                f"{self.spec.target} is streamed and has passed {epoch}:{index}; it only goes forward",
                epoch=epoch,
                index=index,
            )
        self._seed(epoch, index)
        try:
            batch = next(self._iterator)
        except StopIteration:
            if self._last < 0 and self.spec.replicas == 1:
                raise SourceError(
                    f"{self.spec.target} gave no batch at all in epoch {epoch}", epoch=epoch, index=index
                ) from None
            raise EndOfEpoch(f"{epoch}:{index}") from None
        self._last = index
        return batch

    def close(self) -> None:
        """Ends the open epoch; a generator runs its `finally` blocks. Does nothing when none is open."""
        iterator, self._iterator = self._iterator, None
        if inspect.isgenerator(iterator):
            try:
                iterator.close()
            except BaseException as error:
                raise load_error(f"{self.spec.target}, while it was closed,", error) from error

    def _seed(self, epoch: int, index: int) -> None:
        at(self.spec.seed, epoch, index)
        if self.seeds_globals:
            seed_generators(self.spec.seed, epoch, index)
