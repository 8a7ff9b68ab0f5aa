"""What is made next, and how: the course of a run where this process makes the batches itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from types import GeneratorType
from typing import Any, Protocol

from enqueued.enqueuer import epochs
from enqueued.enqueuer.runners import Setup
from enqueued.source.permutation import ShuffledOrder
from enqueued.source.seeding import at


class Drained(Exception):
    """The input is at its end: there is no batch for this key, and there will be none."""


class Failure:
    """What the user's code raised, in the place of a batch."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Course(Protocol):
    """Claims are made by one thread at a time, and makes by any number of them."""

    @property
    def exhausted(self) -> bool:
        """Whether `turn` must come before the next claim; so it is at first."""

    @property
    def pauses(self) -> bool:
        """Whether the next turn has to wait until all that was claimed is taken."""

    def turn(self) -> bool:
        """Begin the run, or end an epoch and begin the next; whether one ended. Raises what the user's code raises."""

    def claim(self, most: int) -> list[Any]:
        """The keys of the next batches, at least 1 and at most `most`."""

    def make(self, key: Any) -> Any:
        """One batch. Raises `Drained`, or what the user's code raises."""

    def give_back(self, outcomes: Iterable[Any]) -> None:
        """Batches and failures that were made and not taken, in order, when the run ends."""


class OrderedCourse:
    """Endless epochs of a sequence, each of the length that it has then."""

    def __init__(self, sequence: Any, setup: Setup) -> None:
        self._sequence = sequence
        self._has_hook = epochs.has_hook(sequence)
        self._seed = setup.seed
        self._order = None if setup.order_seed is None else ShuffledOrder(setup.order_seed)
        self._epoch = -1
        self._place = self._length = 0

    @property
    def exhausted(self) -> bool:
        return self._place >= self._length

    @property
    def pauses(self) -> bool:
        return self._has_hook and self._epoch >= 0

    def turn(self) -> bool:
        ended = self._epoch >= 0
        if self._has_hook:
            (epochs.turn if ended else epochs.begin)(self._sequence)
        self._length = epochs.length(self._sequence)
        self._epoch += 1
        self._place = 0
        return ended

    def claim(self, most: int) -> list[tuple[int, int, int]]:
        epoch, first = self._epoch, self._place
        last = self._place = min(first + most, self._length)
        places = range(first, last)
        indices = places if self._order is None else self._order.take(epoch, self._length, first, last)
        return [(epoch, place, index) for place, index in zip(places, indices, strict=True)]

    def make(self, key: tuple[int, int, int]) -> Any:
        epoch, place, index = key
        at(self._seed, epoch, place)
        return self._sequence[index]

    def give_back(self, outcomes: Iterable[Any]) -> None:
        """Nothing: the next run begins at the first batch."""


class Resumable:
    """An iterator into which a run puts back what it made too much, so that the next one goes on where it was."""

    __slots__ = ("back", "iterator")

    def __init__(self, iterator: Iterator[Any]) -> None:
        self.iterator = iterator
        self.back: deque[Any] = deque()

    def __next__(self) -> Any:
        if not self.back:
            return next(self.iterator)
        try:
            outcome = self.back.popleft()
        except IndexError:  # another thread was faster
            return next(self.iterator)
        if type(outcome) is Failure:
            raise outcome.error
        return outcome


class StreamedCourse:
    """One iterator, which all threads call."""

    pauses = False

    def __init__(self, resumable: Resumable, setup: Setup) -> None:
        self._resumable = resumable
        self._workers = setup.workers
        self._turned = False

    @property
    def exhausted(self) -> bool:
        return not self._turned

    def turn(self) -> bool:
        self._turned = True
        if self._workers > 1 and isinstance(self._resumable.iterator, GeneratorType):
            raise _not_thread_safe(f"and {self._workers} threads were to call it")
        return False

    def claim(self, most: int) -> list[None]:
        return [None] * most

    def make(self, key: None) -> Any:
        try:
            return next(self._resumable)
        except StopIteration:
            raise Drained from None
        except ValueError as error:
            if str(error) == "generator already executing":  # a generator within the user's iterator
                raise _not_thread_safe("and two threads called it at once") from error
            raise

    def give_back(self, outcomes: Iterable[Any]) -> None:
        self._resumable.back.extend(outcomes)


def _not_thread_safe(why: str) -> RuntimeError:
    return RuntimeError(
        f"Your generator is not thread-safe: a generator runs in one thread at a time, {why}. Use workers=1, or "
        "use_multiprocessing=True (each worker then has a copy of the generator), or pass an iterator whose __next__ "
        "holds a lock only while it takes what it needs"
    )
