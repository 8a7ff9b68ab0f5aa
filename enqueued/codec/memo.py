"""A dictionary of what was worked out before, bounded by the bytes of its keys' origin."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V]):
    """Remembers values up to a total weight; when full it forgets everything and starts again.

    Forgetting all keeps the lookup a bare `dict.get`, which is on the path of every batch. What is remembered is
    cheap to make again (tens of microseconds), so a cleverer order of eviction would not pay for itself. Two
    threads that remember at once may lose each other's count; the bound is then off by one entry.
    """

    def __init__(self, limit: int, largest: int) -> None:
        super().__init__()
        self._limit = limit
        self._largest = largest
        self._weight = 0

    def remember(self, key: K, value: V, weight: int) -> None:
        """Keeps `value` for `key`, unless it is heavier than `largest`."""
        if weight > self._largest:
            return
        if self._weight + weight > self._limit:
            self.clear()
            self._weight = 0
        self._weight += weight
        self[key] = value
