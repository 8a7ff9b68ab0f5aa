"""The batches that are made, or being made, and still wanted or held by somebody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from enqueued.batch import Position

WAITING, ORDERED, READY, FAILED, GONE = range(5)
"""An entry's states: to be ordered again, in a worker's hands, made, given up with an error, passed by the source."""


class Entry:
    """One position of the window, or a run of `count` neighbours that were ordered together and are made or being made.

    `slot` is whatever the pool calls the place where the batches lie; the core only hands it back, or a `part` of it.
    `uses` counts the leases that still need the slot, `wanted` whether a group has yet to take something of it,
    `deaths` the workers that died on it, `failures` how often the user's code raised, `follower` the position after all
    that the entry stands for.
    """

    __slots__ = ("_positions", "count", "deaths", "error", "failures", "follower", "position", "slot", "state", "uses",
                 "wanted")  # fmt: skip

    def __init__(self, position: Position, count: int = 1) -> None:
        self.position = position
        self.count = count
        self.follower: Position = (position[0], position[1] + count)
        self.state = ORDERED
        self.slot: Any = None
        self.error: Any = None
        self.uses = 0
        self.wanted = True
        self.deaths = 0
        self.failures = 0
        self._positions: list[Position] = []

    def positions(self) -> list[Position]:
        """All that it covers."""
        if not self._positions:
            epoch, first = self.position
            self._positions = [(epoch, index) for index in range(first, first + self.count)]
        return self._positions

    def cover(self, first: int, count: int) -> None:
        """Cover these of its positions only."""
        epoch = self.position[0]
        self.position, self.count, self.follower = (epoch, first), count, (epoch, first + count)
        self._positions = []


class Window:
    """Entries by position, the number that queue for a group, and the slots that came free.

    A run stands at each of its positions. Its slot is one, and comes free as a whole.
    """

    def __init__(self) -> None:
        self.entries: dict[Position, Entry] = {}
        self.queued = 0
        """Positions that are wanted: ready or being made, and not yet taken by every group that will take them."""
        self.freed: list[Any] = []

    def distinct(self) -> Iterable[Entry]:
        """Each entry once."""
        return dict.fromkeys(self.entries.values())

    def add(self, position: Position, count: int = 1) -> Entry:
        """A new entry, ordered."""
        entry = Entry(position, count)
        self._enter(entry)
        self.queued += count
        return entry

    def _enter(self, entry: Entry) -> None:
        if entry.count == 1:
            self.entries[entry.position] = entry
        else:
            self.entries.update(dict.fromkeys(entry.positions(), entry))

    def carve(self, entry: Entry, first: int, count: int) -> list[Entry]:
        """Make an ordered run cover just `count` positions from index `first` on; the entries that others get."""
        epoch, start = entry.position
        stop = start + entry.count
        others = []
        for begin, end in ((start, first), (first + count, stop)):
            if begin < end:
                rest = Entry((epoch, begin), end - begin)
                rest.state, rest.wanted = entry.state, entry.wanted
                rest.deaths, rest.failures = entry.deaths, entry.failures
                self._enter(rest)
                others.append(rest)
        entry.cover(first, count)
        return others

    def want(self, entry: Entry, wanted: bool) -> None:
        """Say whether a group has yet to take this entry, and drop it when nobody needs it any more."""
        if wanted != entry.wanted:
            entry.wanted = wanted
            self.queued += entry.count if wanted else -entry.count
        if not wanted:
            self.settle(entry)

    def detach(self, entry: Entry) -> None:
        """Take an entry out, so that its position can be made anew; whoever holds it keeps it."""
        self._remove(entry)
        if entry.state in (ORDERED, WAITING):
            entry.state = GONE
        self.want(entry, False)
        self.settle(entry)

    def settle(self, entry: Entry) -> None:
        """Drop an entry that is neither wanted nor in use; one that a worker still makes is dropped when it comes."""
        if entry.uses or entry.wanted or entry.state == ORDERED:
            return
        if self.entries.get(entry.position) is entry:
            self._remove(entry)
        if entry.slot is not None:
            self.freed.append(entry.slot)
            entry.slot = None

    def _remove(self, entry: Entry) -> None:
        entries = self.entries
        if entry.count == 1:
            del entries[entry.position]
        else:
            for position in entry.positions():
                del entries[position]

    def count(self, state: int) -> int:
        """How many positions are wanted and in this state."""
        return sum(1 for entry in self.entries.values() if entry.wanted and entry.state == state)
