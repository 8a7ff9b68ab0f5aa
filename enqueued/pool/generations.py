"""The generations of one source: which epochs have an image of their own, and which are on their way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from enqueued.pool.generation import Generation
from enqueued.pool.handle import WorkerHandle

_FORSAKEN_S = 5.0


class Generations:
    """Generations by epoch. A source without `on_epoch_end` has one, for all epochs: then `hooked` is False.

    `adopted` is called with each new generation.
    """

    def __init__(self, most: int, adopted: Callable[[Generation], None]) -> None:
        self.hooked = False
        self.opening: set[int] = set()
        """Epochs that somebody needs and that are not ready."""
        self._most = most
        self._adopted = adopted
        self._by_epoch: dict[int, Generation] = {}

    def __iter__(self) -> Iterator[Generation]:
        return iter(list(self._by_epoch.values()))

    def workers(self) -> list[WorkerHandle]:
        """Every worker there is."""
        return [worker for one in self._by_epoch.values() for worker in one.crew.values()]

    def add(self, generation: Generation) -> None:
        """A zygote is being made."""
        self._by_epoch[generation.epoch] = generation
        self._adopted(generation)

    def discard(self, generation: Generation) -> None:
        """A zygote has ended."""
        if self._by_epoch.get(generation.epoch) is generation:
            del self._by_epoch[generation.epoch]

    def numbered(self, number: int) -> Generation | None:
        """The generation with this number, if it still counts."""
        return next((one for one in self._by_epoch.values() if one.number == number), None)

    def children(self, generation: Generation) -> list[Generation]:
        """The generations that are being made out of this one."""
        return [one for one in self._by_epoch.values() if one.parent is generation]

    def key(self, epoch: int) -> int:
        """The epoch whose generation makes this epoch's batches."""
        return epoch if self.hooked else 0

    def find(self, epoch: int) -> Generation | None:
        """The generation of an epoch; None while it is being made, out of the nearest earlier one."""
        key = self.key(epoch)
        generation = self._by_epoch.get(key)
        if generation is not None and generation.alive:
            return generation if generation.usable else None
        if key not in self.opening:
            self.opening.add(key)
            self._step_towards(key)
        return None

    def proceed(self) -> None:
        """Something has changed: go on towards what somebody needs."""
        for epoch in sorted(self.opening):
            self._step_towards(epoch)

    def _step_towards(self, epoch: int) -> None:
        before = self._before(epoch)
        if before is not None and before.usable and epoch not in self._by_epoch:
            self.add(before.step_to(epoch))

    def _before(self, epoch: int) -> Generation | None:
        """The nearest earlier generation."""
        return max((g for e, g in self._by_epoch.items() if e < epoch and g.alive), key=_epoch, default=None)

    def given_up(self, generation: Generation) -> list[int]:
        """The epochs that cannot be opened because this generation cannot be made."""
        epochs = sorted(epoch for epoch in self.opening if epoch >= generation.epoch)
        self.opening.difference_update(epochs)
        return epochs

    def forsaken(self, epochs_in_use: set[int], now: float) -> list[Generation]:
        """Generations that are being made and that nobody has wanted for a while: their client has left."""
        found = []
        for epoch, generation in self._by_epoch.items():
            if generation.ready or not epoch or epoch in epochs_in_use:
                generation.unwanted_since = None
            elif generation.unwanted_since is None:
                generation.unwanted_since = now
            elif generation.alive and now - generation.unwanted_since > _FORSAKEN_S:
                found.append(generation)
        return found

    def retire(self, epochs_in_use: set[int]) -> None:
        """End the workers of epochs that no group needs, and all but the newest few of their zygotes.

        The first generation stays, because new groups begin there, and so do the newest and those out of which others
        are made.
        """
        if not self.hooked:
            return
        idle = [g for e, g in self._by_epoch.items() if e not in epochs_in_use and g.unused and g.usable and g.alive]
        for generation in idle:
            for worker in generation.crew.values():
                if worker.up and not worker.stopping:
                    worker.quit()
        surplus = sum(one.alive for one in self._by_epoch.values()) - self._most
        kept = {0, max(self._by_epoch), *(g.epoch for epoch in self.opening if (g := self._before(epoch)) is not None)}
        for generation in [one for one in idle if one.epoch not in kept][: max(0, surplus)]:
            generation.quit()


def _epoch(generation: Generation) -> int:
    return generation.epoch
