"""Sources that can, or cannot, be built again as they were."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np

import enqueued


class Drawn:
    """Numbers that the constructor draws: from the global generators, or, `unseeded`, from one of its own.

    With `ends` there is an `on_epoch_end` that draws again, in which `unseeded_ends` takes a generator of its own.
    """

    def __init__(self, unseeded: bool = False, length: int = 6) -> None:
        generator = np.random.default_rng() if unseeded else None
        self.numbers = generator.random(length) if generator else np.random.random(length) + random.random()

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Any:
        return self.numbers[index]


class Redrawn(Drawn):
    """Draws again between epochs."""

    def __init__(self, unseeded: bool = False, length: int = 6) -> None:
        super().__init__(length=length)
        self.generator = np.random.default_rng() if unseeded else None

    def on_epoch_end(self) -> None:
        self.numbers = (self.generator or np.random).random(len(self.numbers))


class Fickle(Drawn):
    """Gives something else each time."""

    def __getitem__(self, index: int) -> Any:
        return np.random.default_rng().random(3)


class Barren(Drawn):
    """Cannot make the first batch of any epoch but 0: it raises, or if `deadly` it dies, each time noted in a file."""

    def __init__(self, path: str, deadly: bool = False) -> None:
        super().__init__()
        self.path = path
        self.deadly = deadly

    def __getitem__(self, index: int) -> Any:
        info = enqueued.get_worker_info()
        assert info is not None
        if index or not info.epoch:
            return super().__getitem__(index)
        with Path(self.path).open("a") as file:
            file.write("x")
        if self.deadly:
            os._exit(3)
        raise ValueError("no first batch")


class Wide(Drawn):
    """Large batches of several leaves, between which a slot holds what was there before."""

    def __getitem__(self, index: int) -> Any:
        return {"a": np.full(30_001, index, np.uint8), "b": np.full(7, index, np.uint8), "c": np.zeros(40_003)}
