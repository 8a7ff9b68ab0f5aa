"""The positions of a source: how far they lie apart, which can be given, and which of them a group is given."""

from __future__ import annotations

from enqueued.batch import Position
from enqueued.stream.group import Group
from enqueued.stream.window import GONE, Window

FAR = 1 << 64
"""A distance that is more than any window, and a length beyond every index."""

NEAR_EPOCHS = 64
"""So many epochs are counted through, and looked ahead into."""


class Places:
    """The window, and what is known of the source's epochs."""

    def __init__(self, *, indexed: bool) -> None:
        self.indexed = indexed
        self.window = Window()
        self.lengths: dict[int, int] = {}
        self.skipped: dict[int, set[int]] = {}
        """By epoch the indices that cannot be made and are to be left out."""
        self.head: Position = (0, 0)
        """The next position of a streamed source that was never ordered."""
        self.reached: Position = (0, 0)
        """What follows all that a streamed source has given."""
        self.end: Position | None = None

    # -- distances ----------------------------------------------------------------------------------------------

    def gap(self, a: Position, b: Position) -> int:
        """How many batches lie from `a` up to `b`; negative when `b` is behind, `FAR` when that is not known."""
        if a[0] == b[0]:
            return b[1] - a[1]
        if a[0] > b[0]:
            return -self.gap(b, a)
        if b[0] - a[0] > NEAR_EPOCHS:
            return FAR
        total = b[1]
        for epoch in range(a[0], b[0]):
            length = self.lengths.get(epoch)
            if length is None:
                return FAR
            total += length
        return total - min(a[1], self.lengths[a[0]])  # a group may begin beyond its epoch's end

    def oldest(self) -> Position:
        """The oldest position from which on a streamed source can still give everything."""
        oldest = self.head
        for position in sorted(self.window.entries, reverse=True):
            if self.gap(position, oldest) != 1 or self.window.entries[position].state == GONE:
                break
            oldest = position
        return oldest

    def gone(self, position: Position) -> bool:
        """Whether a streamed source has passed a position and nobody kept it."""
        return not self.indexed and position < self.head and position not in self.window.entries

    # -- what a lane takes --------------------------------------------------------------------------------------

    def end_of(self, group: Group, epoch: int) -> int:
        """The index at which an epoch ends for a group: for a lane, after as many steps as every rank has."""
        length = self.lengths.get(epoch, FAR)
        team = group.team
        if team is None or length == FAR:
            return length
        base = group.base[1] if epoch == group.base[0] else 0
        rest, size = max(0, length - base), team.world_size
        return base + rest - rest % size if team.tail == "drop" else base + rest + -rest % size

    def real(self, group: Group, position: Position) -> Position:
        """The position of the batch that a group is given at one of its own.

        For a lane, a pad repeats the epoch's start, and the first batch that can be made stands in for one that is
        skipped.
        """
        if group.team is None:
            return position
        epoch, index = position
        length = self.lengths.get(epoch, FAR)
        if index < length and not self.skipped:
            return position
        if index >= length:
            index = (index - length) % max(1, length)
        skipped = self.skipped.get(epoch)
        if skipped and index in skipped:
            index = next((n for n in range(length) if n not in skipped), index)
        return epoch, index

    def takes(self, group: Group, position: Position) -> bool:
        """Whether a position that is not before a group's cursor is one that it will be given there."""
        if group.team is None:
            return position not in group.taken
        epoch, index = position
        ahead = index - group.base_in(epoch) - group.rank
        if ahead % group.stride or (self.skipped and index in self.skipped.get(epoch, ())):
            return False
        return not self.ended(group, epoch, index)

    def ended(self, group: Group, epoch: int, index: int) -> bool:
        """Whether an index is at or beyond the end of an epoch for a group."""
        left = self.lengths.get(epoch, FAR) - index
        return left < group.stride and index >= self.end_of(group, epoch)  # only the last step may be incomplete

    # -- what is gone -------------------------------------------------------------------------------------------

    def next_kept(self, position: Position) -> Position:
        """Where a group goes on from a position that is gone: at the latest at the end of its epoch."""
        kept = min((p for p in self.window.entries if p > position), default=self.head)
        return min(kept, (position[0], self.lengths.get(position[0], FAR)))
