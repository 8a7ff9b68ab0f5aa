"""Sources whose batches are large enough to be seen where they lie, and sources that fail or linger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gate import enter


class Large:
    """Batch i of an epoch is `nbytes` bytes that tell `i`; a second leaf tells `i` as a number."""

    def __init__(self, length: int = 20, nbytes: int = 200_000) -> None:
        self.length = length
        self.nbytes = nbytes

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return np.full(self.nbytes, index % 251, np.uint8), np.int64(index)


def grainy(index: int, nbytes: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Half of it is noise, so that it can be compressed to half."""
    noise = np.random.default_rng(index).integers(0, 256, nbytes // 2, np.uint8)
    return np.concatenate([noise, np.full(nbytes - nbytes // 2, index % 251, np.uint8)])


class Grainy(Large):
    """Batches that can be compressed to half."""

    def __getitem__(self, index: int) -> Any:
        return grainy(index, self.nbytes), np.int64(index)


class Failing(Large):
    """Raises at some positions, with a long text."""

    def __init__(self, length: int = 10, at: tuple[int, ...] = (3,), text: int = 10) -> None:
        super().__init__(length, 100)
        self.at = set(at)
        self.text = text

    def __getitem__(self, index: int) -> Any:
        if index in self.at:
            raise ValueError("no" * self.text)
        return super().__getitem__(index)


class Gated(Large):
    """Batches from `free` on are made only once `gate` is open."""

    def __init__(self, gate: str, free: int = 0, length: int = 20) -> None:
        super().__init__(length, 100)
        self.gate = gate
        self.free = free

    def __getitem__(self, index: int) -> Any:
        if index >= self.free:
            enter(Path(self.gate))
        return super().__getitem__(index)


def gated_loading(gate: str) -> Large:
    """A source that loads only once `gate` is open."""
    enter(Path(gate))
    return Large(length=5)


class Growing(Large):
    """Each epoch is one batch longer than the one before."""

    def __init__(self) -> None:
        super().__init__(3, 100)

    def on_epoch_end(self) -> None:
        self.length += 1


def stream(length: int = 6, nbytes: int = 100) -> Iterator[Any]:
    """A finite generator, made anew for each epoch."""
    for index in range(length):
        yield np.full(nbytes, index % 251, np.uint8), np.int64(index)


once = iter([(np.zeros(4), np.int64(index)) for index in range(4)])
