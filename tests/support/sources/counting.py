"""Sources whose batches tell their position."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np


class Counting:
    """`length` batches `(index in a float32 array of `shape`, index)`."""

    def __init__(self, length: int = 20, shape: tuple[int, ...] = (4, 3)) -> None:
        self.length = length
        self.shape = tuple(shape)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return np.full(self.shape, index, np.float32), np.int64(index)


class Slow(Counting):
    """The same, at `seconds` a batch."""

    def __init__(self, length: int = 20, seconds: float = 0.006) -> None:
        super().__init__(length)
        self.seconds = seconds

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        time.sleep(self.seconds)
        return super().__getitem__(index)


def count_up(length: int = 20) -> Iterator[Any]:
    """A finite generator."""
    for index in range(length):
        yield np.full((4, 3), index, np.float32), np.int64(index)
