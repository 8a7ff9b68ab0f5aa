"""A batch as a trainer sees it, and the position that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Position = tuple[int, int]
"""`(epoch, index)`; `index` counts batches in delivery order within the epoch."""


class Batch:
    """One delivered batch.

    `data` is what the source returned: nested tuples, lists, dicts with NumPy leaves, writable and private to this
    trainer. `redelivered` says that a member that died may have seen it already, `padded` that it repeats one from the
    epoch's start to keep ranks equal.
    """

    __slots__ = ("_acknowledge", "data", "epoch", "index", "padded", "redelivered")

    def __init__(
        self,
        data: Any,
        epoch: int,
        index: int,
        *,
        redelivered: bool = False,
        padded: bool = False,
        acknowledge: Callable[[], None] | None = None,
    ) -> None:
        self.data = data
        self.epoch = epoch
        self.index = index
        self.redelivered = redelivered
        self.padded = padded
        self._acknowledge = acknowledge

    @property
    def position(self) -> Position:
        """`(epoch, index)`."""
        return self.epoch, self.index

    def done(self) -> None:
        """Acknowledge this batch now rather than when the next one is asked for; again is harmless."""
        acknowledge, self._acknowledge = self._acknowledge, None
        if acknowledge is not None:
            acknowledge()

    def __repr__(self) -> str:
        marks = " redelivered" * self.redelivered + " padded" * self.padded
        return f"<Batch {self.epoch}:{self.index}{marks}>"
