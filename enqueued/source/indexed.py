"""Sources whose batches can be made in any order: a Sequence, and the base that a dataset shares with it."""

from __future__ import annotations

import operator
from typing import Any

from enqueued.errors import LoadError
from enqueued.source import hooks
from enqueued.source.failure import a, load_error, source_error
from enqueued.source.generators import Seeder
from enqueued.source.permutation import ShuffledOrder
from enqueued.source.seeding import ENDING, OPENING, at, seed_generators
from enqueued.source.spec import SourceSpec


class IndexedSource:
    """A source that makes any position at any time, with the same result.

    `user` is the user's own object. What it raises in `make` comes out as it is; in the hooks and in `length` as a
    LoadError or SourceError. Set `seeds_globals` to False where threads share the process: there only `rng` is seeded.
    """

    def __init__(self, spec: SourceSpec, user: Any) -> None:
        self.spec = spec
        self.user = user
        self.seeds_globals = True
        self._epoch = 0
        self._seed = spec.seed
        self._seeder = Seeder()
        self._order = ShuffledOrder(spec.seed) if spec.shuffle else None
        self._counted = (-1, 0)
        self._begin_hook = hooks.hook(user, "on_epoch_begin")
        self._end_hook = hooks.hook(user, "on_epoch_end")

    @property
    def has_epoch_hook(self) -> bool:
        """Whether the source does anything between epochs; an empty method of a base class does not count."""
        return self._begin_hook is not None or self._end_hook is not None

    def length(self) -> int:
        """How many batches an epoch has, asked again at each call. Raises LoadError unless that is at least 1."""
        return count(self.user, self.spec.target)

    def make(self, epoch: int, index: int) -> Any:
        """The batch at one position, as it is after seeding for it."""
        at(self._seed, epoch, index)
        if not self.seeds_globals:
            return self._fetch(epoch, index)
        return self._seeder.make(self._fetch, self._seed, epoch, index)

    def begin(self) -> None:
        """Runs `on_epoch_begin` for epoch 0; call it once, in one place, before workers are forked."""
        if self._begin_hook is not None:
            self._prepare(OPENING)
            try:
                self._begin_hook()
            except BaseException as error:
                raise load_error(f"{self.spec.target}.on_epoch_begin", error) from error

    def enter(self, epoch: int) -> None:
        """Says that the user's object stands in this epoch, as one that came from another process does."""
        self._epoch = epoch

    def end_epoch(self) -> None:
        """Runs `on_epoch_end`, then the next epoch's `on_epoch_begin`. Raises SourceError when one of them raises."""
        self._run(self._end_hook, "on_epoch_end", ENDING)
        self._epoch += 1
        self._counted = (-1, 0)
        self._run(self._begin_hook, "on_epoch_begin", OPENING)

    def _run(self, hook: Any, name: str, index: int) -> None:
        if hook is None:
            return
        self._prepare(index)
        try:
            hook()
        except BaseException as error:
            raise source_error(error, target=self.spec.target, epoch=self._epoch, index=-1, doing=name) from error

    def _prepare(self, index: int) -> None:
        at(self._seed, self._epoch, index)
        seed_generators(self._seed, self._epoch, index)

    def _fetch(self, epoch: int, index: int) -> Any:
        if self._order is None:
            return self.user[index]
        return self.user[self._order.take(epoch, self._units(epoch), index, index + 1)[0]]

    def _units(self, epoch: int) -> int:
        """How many things the user's object has in this epoch: batches of a Sequence, samples of a dataset."""
        counted = self._counted
        if counted[0] != epoch:
            counted = self._counted = (epoch, count(self.user, self.spec.target))
        return counted[1]


def count(user: Any, who: str) -> int:
    """``len(user)``, or Keras 3's ``num_batches``. Raises LoadError, with the user's traceback if it raised."""
    kind = type(user)
    # The slot is called directly: len() hides which wrong value it was given.
    name = "__len__" if hasattr(kind, "__len__") else "num_batches"
    try:
        value = kind.__len__(user) if name == "__len__" else user.num_batches
    except BaseException as error:
        raise load_error(f"{who}.{name}", error) from error
    told = f"len({who})" if name == "__len__" else f"{who}.num_batches"
    if value is None and name == "num_batches":
        raise LoadError(f"{told} is None, which says that it is endless; serve what is endless with --generator")
    try:
        number = operator.index(value)
    except TypeError:
        raise LoadError(f"{told} is {value!r}, {a(value)}; it must be an int, at least 1") from None
    if number < 1:
        raise LoadError(f"{told} is {number}; there must be at least 1")
    return number
