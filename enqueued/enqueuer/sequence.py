"""The base class of indexed sources, as `keras.utils.Sequence` was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Sequence:
    """Batches by number: `__getitem__` gives one whole batch, `__len__` says how many an epoch has.

    `on_epoch_end` may change the sequence between epochs, its length too. There is no `__init__` to call, and nobody
    needs to inherit from this: whatever has `__len__` and `__getitem__` is taken as a sequence.
    """

    def __getitem__(self, index: int) -> Any:
        """The batch at this place of the epoch."""
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__, which gives one batch")

    def __len__(self) -> int:
        """How many batches an epoch has."""
        raise NotImplementedError(f"{type(self).__name__} has no __len__, which says how many batches an epoch has")

    def on_epoch_end(self) -> None:
        """Called once after each epoch; does nothing here."""

    def __iter__(self) -> Iterator[Any]:
        """One epoch, in order."""
        for index in range(len(self)):
            yield self[index]
