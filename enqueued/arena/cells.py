"""The free cells of one size: whoever takes one after the other gets neighbours if they are small."""

from __future__ import annotations

from enqueued.arena.segment import SMALL

Place = tuple[int, int]
"""A segment, and an offset in it."""


class Cells:
    """Free cells; what was freed last is taken first, because it is still warm.

    Small ones are kept in runs, each as long as it can be, and a run is taken from its beginning to its end.
    """

    def __init__(self, cell_bytes: int) -> None:
        self._cell_bytes = cell_bytes
        self._segment = self._offset = self._left = 0
        """The run that is being taken: its next cell, and how many there are."""
        self._starts: dict[Place, int] = {}
        """How many cells follow a place; the warmest last."""
        self._ends: dict[Place, int] = {}
        """Where the run begins that ends at a place."""

    def take(self) -> Place | None:
        """The next one, if there is one."""
        if not self._left:
            if not self._starts:
                return None
            (self._segment, self._offset), self._left = self._starts.popitem()
            self._ends.pop((self._segment, self._offset + self._left * self._cell_bytes), None)
        place = self._segment, self._offset
        self._offset += self._cell_bytes
        self._left -= 1
        return place

    def give(self, segment: int, offset: int, count: int) -> None:
        """So many neighbours are free."""
        if self._cell_bytes >= SMALL:
            for n in reversed(range(count)):
                self._starts[segment, offset + n * self._cell_bytes] = 1
            return
        stop = offset + count * self._cell_bytes
        before = self._ends.pop((segment, offset), None)
        if before is not None:
            count += self._starts.pop((segment, before))
            offset = before
        after = self._starts.pop((segment, stop), 0)
        stop += after * self._cell_bytes
        self._starts[segment, offset] = count + after
        self._ends[segment, stop] = offset

    def forget(self, segment: int) -> None:
        """A segment is closed."""
        if self._segment == segment:
            self._left = 0
        self._starts = {place: count for place, count in self._starts.items() if place[0] != segment}
        self._ends = {place: offset for place, offset in self._ends.items() if place[0] != segment}
