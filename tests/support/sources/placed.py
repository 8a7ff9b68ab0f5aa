"""A source that builds its batches where they will lie."""

from __future__ import annotations

from typing import Any

import numpy as np

import enqueued


class Placed:
    """Batch i is full of `i`; `placed` tells whether its large array lay in the slot from the beginning.

    That may differ each time, so a source whose batches are compared does not tell it.
    """

    def __init__(self, length: int = 40, keep: bool = False, tell: bool = True) -> None:
        self.length = length
        self.tell = tell
        self.kept: list[Any] | None = [] if keep else None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        x, y = enqueued.empty((50, 1000, 3), np.uint8), enqueued.empty(50, np.int64)
        x[...], y[...] = index, index
        if self.kept is not None:
            self.kept.append(x)
        return {"x": x, "y": y, "placed": self.tell and x.base is not None}


class PlacedSamples:
    """Samples whose batch is put together in place by `collate`."""

    def __len__(self) -> int:
        return 400

    def __getitem__(self, index: int) -> int:
        return index


def collate(samples: list[int]) -> dict[str, Any]:
    """A batch of rows that are full of their sample."""
    x = enqueued.empty((len(samples), 4000), np.int64)
    for row, sample in zip(x, samples, strict=True):
        row[...] = sample
    return {"x": x}
