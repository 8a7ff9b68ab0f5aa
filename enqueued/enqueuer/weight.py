"""How much memory the batches of a queue without a bound on their number take."""

from __future__ import annotations

import sys
import threading
from typing import Any

from enqueued.pool.memory import available_bytes

_SHARE = 4
"""The queue may take this fraction of the memory that is available at the start, as a daemon's may."""
_DEPTH = 8


class Weight:
    """Adds up the bytes of what is made and not taken."""

    def __init__(self) -> None:
        self._limit = available_bytes() // _SHARE
        self._held: dict[int, int] = {}
        self._total = 0
        self._lock = threading.Lock()

    @property
    def is_full(self) -> bool:
        """Whether no more should be made for now."""
        return self._total >= self._limit

    def add(self, number: int, batch: Any) -> None:
        """This batch is made."""
        nbytes = weigh(batch)
        with self._lock:
            self._held[number] = nbytes
            self._total += nbytes

    def remove(self, number: int) -> None:
        """It is taken."""
        with self._lock:
            self._total -= self._held.pop(number, 0)


def weigh(batch: Any, depth: int = 0) -> int:
    """About how many bytes a batch takes: those of its arrays and tensors, within the usual containers."""
    try:
        nbytes = getattr(batch, "nbytes", None)
    except Exception:  # a type of the user's own, such as a dict whose keys are attributes, may raise anything
        nbytes = None
    if isinstance(nbytes, int):
        return nbytes
    if depth < _DEPTH and isinstance(batch, dict):
        return sum(weigh(each, depth + 1) for each in batch.values())
    if depth < _DEPTH and isinstance(batch, (tuple, list)):
        return sum(weigh(each, depth + 1) for each in batch)
    return sys.getsizeof(batch)
