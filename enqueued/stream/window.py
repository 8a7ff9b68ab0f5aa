"""The batches that are made, or being made, and still wanted or held by somebody."""

from __future__ import annotations

from typing import Any

from enqueued.batch import Position

WAITING, ORDERED, READY, FAILED, GONE = range(5)
"""An entry's states: to be ordered again, in a worker's hands, made, given up with an error, passed by the source."""


class Entry:
    """One position of the window.

    `slot` is whatever the pool calls the place where the batch lies; the core only hands it back. `uses` counts the
    leases that still need the slot, `wanted` whether a group has yet to take it, `deaths` the workers that died on it,
    `failures` how often the user's code raised, `follower` the position after all that the entry stands for.
    """

    __slots__ = ("deaths", "error", "failures", "follower", "position", "slot", "state", "uses", "wanted")

    def __init__(self, position: Position) -> None:
        self.position = position
        self.follower: Position = (position[0], position[1] + 1)
        self.state = ORDERED
        self.slot: Any = None
        self.error: Any = None
        self.uses = 0
        self.wanted = True
        self.deaths = 0
        self.failures = 0


class Window:
    """Entries by position, the number that queue for a group, and the slots that came free."""

    def __init__(self) -> None:
        self.entries: dict[Position, Entry] = {}
        self.queued = 0
        """Entries that are wanted: ready or being made, and not yet taken by every group that will take them."""
        self.freed: list[Any] = []

    def add(self, position: Position) -> Entry:
        """A new entry, ordered."""
        entry = self.entries[position] = Entry(position)
        self.queued += 1
        return entry

    def want(self, entry: Entry, wanted: bool) -> None:
        """Say whether a group has yet to take this entry, and drop it when nobody needs it any more."""
        if wanted != entry.wanted:
            entry.wanted = wanted
            self.queued += 1 if wanted else -1
        if not wanted:
            self.settle(entry)

    def detach(self, entry: Entry) -> None:
        """Take an entry out, so that its position can be made anew; whoever holds it keeps it."""
        del self.entries[entry.position]
        if entry.state in (ORDERED, WAITING):
            entry.state = GONE
        self.want(entry, False)
        self.settle(entry)

    def settle(self, entry: Entry) -> None:
        """Drop an entry that is neither wanted nor in use; one that a worker still makes is dropped when it comes."""
        if entry.uses or entry.wanted or entry.state == ORDERED:
            return
        if self.entries.get(entry.position) is entry:
            del self.entries[entry.position]
        if entry.slot is not None:
            self.freed.append(entry.slot)
            entry.slot = None

    def count(self, state: int) -> int:
        """How many entries are wanted and in this state."""
        return sum(1 for entry in self.entries.values() if entry.wanted and entry.state == state)
