"""Plain memory: what no transport can beat. One process, no producer."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.batches import Size
from benchmarks.systems import Feed

ROTATING = 12


@contextmanager
def copied(size: Size, folder: Path) -> Iterator[Feed]:
    """Ready batches of this process, in turn: the consumer's copy is all there is."""
    yield Feed(_in_turn(size.batches(ROTATING)))


@contextmanager
def slot(size: Size, folder: Path) -> Iterator[Feed]:
    """Each batch is written into one shared slot, and read from there by the same core while it is warm."""
    number = os.memfd_create("benchmark")
    try:
        os.ftruncate(number, size.nbytes)
        shared = mmap.mmap(number, size.nbytes)
    finally:
        os.close(number)
    split = size.nbytes - size.shape[0] * 8
    data = np.frombuffer(shared, size.dtype, split // np.dtype(size.dtype).itemsize).reshape(size.shape)
    yield Feed(_through((data, np.frombuffer(shared, np.int64, size.shape[0], split)), size))


def _in_turn(batches: list[Any]) -> Iterator[Any]:
    while True:
        yield from batches


def _through(place: tuple[np.ndarray[Any, Any], ...], size: Size) -> Iterator[Any]:
    for batch in _in_turn(size.batches(4)):
        for target, array in zip(place, batch, strict=True):
            np.copyto(target, array)
        yield place
