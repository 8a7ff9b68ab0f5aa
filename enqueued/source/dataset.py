"""Map-style datasets: samples by index, put together into batches. torch's Dataset fits as it is, without torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from enqueued.errors import LoadError
from enqueued.source.collate import default_collate
from enqueued.source.indexed import IndexedSource, count
from enqueued.source.spec import SourceSpec


class DatasetSource(IndexedSource):
    """An indexed source whose batch `index` is the samples from ``index * batch_size`` on, in the epoch's order."""

    def __init__(self, spec: SourceSpec, user: Any, collate: Callable[[list[Any]], Any] | None = None) -> None:
        super().__init__(spec, user)
        if spec.batch_size is None:
            raise LoadError(f"{spec.target} is a dataset: say with --batch-size how many samples make a batch")
        if spec.batch_size < 1:
            raise LoadError(f"--batch-size is {spec.batch_size}; it must be at least 1")
        self._size = spec.batch_size
        self._collate = collate or default_collate
        # torch's protocol for fetching a batch at once; a dataset may set it to None to say that it has none
        self._fetch_many = getattr(user, "__getitems__", None)

    def length(self) -> int:
        samples = count(self.user, self.spec.target)
        if not self.spec.drop_last:
            return -(-samples // self._size)
        if samples < self._size:
            raise LoadError(
                f"{self.spec.target} has {samples} samples, less than one batch of {self._size}: "
                f"--drop-last leaves nothing"
            )
        return samples // self._size

    def _fetch(self, epoch: int, index: int) -> Any:
        samples = self._units(epoch)
        start = index * self._size
        stop = min(start + self._size, samples)
        if not 0 <= start < stop:
            raise IndexError(f"batch {index} of {samples} samples in batches of {self._size}")
        order = self._order
        places = list(range(start, stop)) if order is None else order.take(epoch, samples, start, stop)
        if self._fetch_many is not None:
            return self._collate(self._fetch_many(places))
        user = self.user
        return self._collate([user[place] for place in places])
