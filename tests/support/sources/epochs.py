"""Sources that do something between epochs."""

from __future__ import annotations

import random

import numpy as np


class Recording:
    """Notes each call of its hooks."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        return index

    def on_epoch_begin(self) -> None:
        self.calls.append("begin")

    def on_epoch_end(self) -> None:
        self.calls.append("end")


class Reordering:
    """Reorders itself with the process-wide generators."""

    def __init__(self) -> None:
        self.order = list(range(50))

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> int:
        return self.order[index]

    def on_epoch_end(self) -> None:
        random.shuffle(self.order)
        np.random.shuffle(self.order)


class Growing:
    """Gains a batch at the end of each epoch."""

    size = 2

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        return index

    def on_epoch_end(self) -> None:
        self.size += 1
