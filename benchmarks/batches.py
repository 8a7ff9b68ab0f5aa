"""The batches that are sent, made beforehand so that only the transport counts, and who copies them out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import enqueued

Pair = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]

ENDLESS = 10**9


@dataclass(frozen=True)
class Size:
    """One kind of batch, and what enqueued is told for it: batches kept ready, and under way to the consumer."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    queue: int
    prefetch: int

    @property
    def nbytes(self) -> int:
        """Bytes of data and labels of one batch."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize + self.shape[0] * 8

    @property
    def words(self) -> str:
        """What one batch is."""
        return f"{self.shape} {self.dtype} and {self.shape[0]} labels of 8 bytes, {self.nbytes / 1e6:.3g} MB"

    def batches(self, count: int) -> list[Pair]:
        """`count` batches of random numbers with labels; the same ones each time."""
        made = []
        for number in range(count):
            data = np.random.default_rng(number).integers(0, 255, self.shape).astype(self.dtype)
            made.append((data, np.arange(self.shape[0], dtype=np.int64)))
        return made


SIZES = {
    size.name: size
    for size in (
        Size("big", (64, 224, 224, 3), "uint8", queue=8, prefetch=4),
        Size("mid", (32, 64, 64, 3), "float32", queue=64, prefetch=16),
        Size("small", (32, 16), "float32", queue=2048, prefetch=512),
    )
}


class Ready:
    """A source that returns one of a few ready batches: a Sequence for enqueued, a map-style dataset for PyTorch."""

    def __init__(self, size: str, length: int = ENDLESS) -> None:
        self._batches = SIZES[size].batches(4)
        self._length = length

    def __len__(self) -> int:
        """By itself so many that no measurement reaches the end of an epoch."""
        return self._length

    def __getitem__(self, index: int) -> Pair:
        """One of the ready batches."""
        return self._batches[index % len(self._batches)]


class Filled(Ready):
    """A Sequence that fills arrays of its own anew for each batch; in the slot with `in_place`."""

    def __init__(self, size: str, in_place: bool = False) -> None:
        super().__init__(size)
        self._empty = enqueued.empty if in_place else np.empty

    def __getitem__(self, index: int) -> Pair:
        """A copy of one of the ready batches."""
        data, labels = (self._empty(array.shape, array.dtype) for array in super().__getitem__(index))
        for made, array in zip((data, labels), super().__getitem__(index), strict=True):
            np.copyto(made, array)
        return data, labels


class Consumer:
    """Copies every byte of each batch into buffers that were allocated before."""

    def __init__(self, size: Size) -> None:
        self._buffers = tuple(np.zeros_like(array) for array in size.batches(1)[0])

    def take(self, batch: Sequence[Any]) -> None:
        """Copy one batch out; anything that NumPy can read."""
        for buffer, array in zip(self._buffers, batch, strict=True):
            np.copyto(buffer, array)
