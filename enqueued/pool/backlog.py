"""Positions that wait for a worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from enqueued.batch import Position
from enqueued.stream.plan import Stretch


class Backlog:
    """Stretches of positions, in the order in which they are handed out; its length is that in positions."""

    def __init__(self) -> None:
        self._stretches: deque[Stretch] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Position]:
        for epoch, first, count in self._stretches:
            for index in range(first, first + count):
                yield epoch, index

    def add(self, stretches: Iterable[Stretch]) -> None:
        """Put some in line."""
        for stretch in stretches:
            self._stretches.append(stretch)
            self._count += stretch[2]

    def take(self, most: int) -> list[Stretch]:
        """The next `most` positions, or what there is; a stretch is divided where it has to be."""
        taken = []
        while most > 0 and self._stretches:
            epoch, first, count = stretch = self._stretches.popleft()
            if count > most:
                self._stretches.appendleft((epoch, first + most, count - most))
                stretch = (epoch, first, count := most)
            taken.append(stretch)
            self._count -= count
            most -= count
        return taken
