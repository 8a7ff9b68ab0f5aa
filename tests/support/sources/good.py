"""Sources that do as they should."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np


class Numbers:
    """Batch i is the array ``[i] * width`` and the label i."""

    def __init__(self, size: int = 5, width: int = 2) -> None:
        self.size = size
        self.width = width

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return np.full(self.width, index, np.float32), index


class Augmented(Numbers):
    """Adds noise from each of the process-wide generators."""

    def __getitem__(self, index: int) -> Any:
        return index, random.random(), np.random.random(3)


class Shuffling(Numbers):
    """Shuffles itself between epochs with a generator that nobody seeds, and draws from it in `__getitem__` too."""

    def __init__(self, size: int = 5) -> None:
        super().__init__(size)
        self.generator = np.random.default_rng()
        self.order = list(range(size))

    def __getitem__(self, index: int) -> Any:
        self.generator.random()
        return self.order[index]

    def on_epoch_end(self) -> None:
        self.generator.shuffle(self.order)


class Shelf:
    """Holds sources as attributes."""

    Inner = Numbers
    ready = Numbers(3)


ready = Numbers(4)
batches = [np.zeros(2), np.ones(2)]
spent_once = iter([10, 11])
endless = itertools.count()


def numbers(size: int = 5) -> Numbers:
    """A factory."""
    return Numbers(size)


def counting(size: int = 3) -> Iterator[int]:
    """A generator function."""
    yield from range(size)


def noisy(size: int = 3) -> Iterator[tuple[float, float]]:
    """A generator function that augments."""
    for _ in range(size):
        yield random.random(), float(np.random.random())


def nothing() -> Iterator[int]:
    """A generator function that ends at once."""
    return iter(())


class Lines:
    """An iterable: every epoch from its beginning."""

    def __init__(self, size: int = 3) -> None:
        self.size = size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.size))


class Walker:
    """Its own iterator, which cannot begin again."""

    def __init__(self, size: int = 2) -> None:
        self.left = size

    def __iter__(self) -> Walker:
        return self

    def __next__(self) -> int:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.left
