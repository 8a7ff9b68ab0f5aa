"""What one life of a group took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enqueued.ledger.lines import Session
from enqueued.ledger.positions import Indices, Tally

if TYPE_CHECKING:  # it is a row of the house away
    from enqueued.batch import Position


class Lane:
    """How far a rank came, and its pads; a group without ranks has one lane."""

    def __init__(self) -> None:
        self.highest: dict[int, int] = {}
        """The highest index in each epoch."""
        self.ended: set[int] = set()
        self.left: set[int] = set()
        """Epochs that were left on purpose before their end, as by `break`."""
        self.latest = -1
        self.pads: dict[int, Pads] = {}

    def reach(self, epoch: int, index: int) -> None:
        """An index was acknowledged."""
        if index > self.highest.get(epoch, -1):
            self.highest[epoch] = index
        self.latest = max(self.latest, epoch)

    def end(self, epoch: int) -> None:
        """The end of an epoch was told."""
        self.ended.add(epoch)
        self.latest = max(self.latest, epoch)

    def finished(self, epoch: int) -> bool:
        """Whether it has had all that there is for it in this epoch."""
        return epoch in self.ended or (epoch < self.latest and epoch not in self.left)


class Pads:
    """The batches of a rank in one epoch that repeat others: at its end, or where one was skipped."""

    def __init__(self) -> None:
        self.first = self.redelivered = 0
        self.indices = Indices()


class Run:
    """One life of a group: each position is due once in it, of each of its epochs, from its start on."""

    def __init__(self, session: Session) -> None:
        self.kind = session.kind
        self.indexed = session.indexed
        self.world_size = session.world_size if session.kind == "ranks" else 1
        self.pad = session.kind == "ranks" and session.tail == "pad"
        self.start: Position = session.base if session.kind == "ranks" else session.start
        self.reorder_window = session.reorder_window
        self.taken: dict[int, Tally] = {}
        self.lanes: dict[int, Lane] = {}
        self.lengths: dict[int, set[int]] = {}
        """What was told at the ends of epochs."""
        self.expected_lengths: dict[int, int] = {}
        """What was told when sessions began."""
        self.had: dict[int, Indices] = {}
        """What a state says was taken before this life began."""
        self.stray: dict[int, Indices] = {}
        self.disordered: dict[int, Indices] = {}

    def begin(self, session: Session) -> Lane:
        """A session joins this life."""
        if self.kind == "ranks":
            self.start = min(self.start, session.base)
        elif self.kind == "split" and not session.continued:
            self.start = min(self.start, session.start)
        self.reorder_window = max(self.reorder_window, session.reorder_window)
        if session.length is not None:
            self.expected_lengths.setdefault(session.start[0], session.length)
        for epoch, index in session.taken:
            self.had.setdefault(epoch, Indices()).add(index)
        return self.lanes.setdefault(session.rank if self.kind == "ranks" else 0, Lane())

    def lower(self, epoch: int) -> int:
        """The first index of an epoch that is due."""
        return self.start[1] if epoch == self.start[0] else 0

    def take(self, lane: Lane, rank: int, epoch: int, index: int, *, redelivered: bool) -> bool:
        """A batch was acknowledged; whether it was due, and for the first time."""
        if self.kind == "ranks":
            own = epoch >= self.start[0] and (index - self.lower(epoch)) % self.world_size == rank
            due = own and index >= self.lower(epoch)
        else:
            due = self.kind == "split" or (epoch, index) >= self.start
        if not due:
            self.stray.setdefault(epoch, Indices()).add(index)
            return False
        tally = self.taken.get(epoch)
        if tally is None:
            tally = self.taken[epoch] = Tally()
        lane.reach(epoch, index)
        return tally.add(index, redelivered=redelivered)

    def take_pad(self, lane: Lane, epoch: int, index: int, *, redelivered: bool) -> None:
        """A batch that repeats another was acknowledged."""
        if self.kind != "ranks" or epoch < self.start[0]:
            self.stray.setdefault(epoch, Indices()).add(index)
            return
        lane.latest = max(lane.latest, epoch)
        pads = lane.pads.setdefault(epoch, Pads())
        pads.indices.add(index)
        if redelivered:
            pads.redelivered += 1
        else:
            pads.first += 1

    def end(self, lane: Lane, epoch: int, length: int) -> None:
        """The end of an epoch was told, and how many batches it has."""
        self.lengths.setdefault(epoch, set()).add(length)
        lane.end(epoch)
