"""Sources that take their time: to be built, to be imported, or for each batch."""

from __future__ import annotations

import time

from benchmarks.batches import SIZES, Pair, Ready


class Built:
    """A Sequence of 1.6 MB batches that takes `build_s` seconds to construct, as one does that lists its files."""

    def __init__(self, build_s: float = 0.0, length: int = 1000) -> None:
        time.sleep(build_s)
        self._batch = SIZES["mid"].batches(1)[0]
        self._length = length

    def __len__(self) -> int:
        """Batches."""
        return self._length

    def __getitem__(self, index: int) -> Pair:
        """The same one each time."""
        return self._batch


class Sleeping(Ready):
    """Small batches that take `seconds` each and no CPU time, as those do that wait for a disk or a network."""

    def __init__(self, seconds: float) -> None:
        super().__init__("small")
        self._seconds = seconds

    def __getitem__(self, index: int) -> Pair:
        """One of the ready batches, later."""
        time.sleep(self._seconds)
        return super().__getitem__(index)
