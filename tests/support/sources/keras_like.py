"""Look-alikes of the Keras classes, down to the methods that do nothing."""

from __future__ import annotations

from typing import Any

import numpy as np


class Sequence:
    """Keras 2's base class."""

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def on_epoch_end(self) -> None:
        """Method called at the end of every epoch."""


class PyDataset:
    """Keras 3's base class."""

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers = workers

    @property
    def num_batches(self) -> int | None:
        if hasattr(self, "__len__"):
            return len(self)
        raise NotImplementedError("You need to implement the `num_batches` property")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError

    def on_epoch_begin(self) -> None:
        """Method called at the beginning of every epoch."""

    def on_epoch_end(self) -> None:
        """Method called at the end of every epoch."""


class OldStyle(Sequence):
    """A Keras 2 Sequence as users write it."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return np.zeros((2, 3), np.float32), np.full(2, index)


class NewStyle(PyDataset):
    """A Keras 3 PyDataset as users write it."""

    @property
    def num_batches(self) -> int | None:
        return 4

    def __getitem__(self, index: int) -> Any:
        return np.full(2, index)


class Endless(NewStyle):
    """A PyDataset that says it has no end."""

    @property
    def num_batches(self) -> int | None:
        return None


class Forgetful(PyDataset):
    """A PyDataset without a length of any kind."""


class Beginning(NewStyle):
    """A PyDataset that works at the beginning of each epoch."""

    begun = 0

    def on_epoch_begin(self) -> None:
        self.begun += 1
