"""Compares what one life of a group took with what it was promised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from operator import itemgetter

from enqueued.ledger.positions import Found, Indices, Range, Tally
from enqueued.ledger.run import Lane, Pads, Run

LOST, REPEATED, WRONG = "lost", "repeated", "wrong"
STRAY, DISORDERED, UNEQUAL, LENGTHS = "stray", "disordered", "unequal", "lengths"
KINDS = {
    LOST: "they were not delivered",
    REPEATED: "they came again without being marked as redelivered (one ledger is for one run, and what resumes it)",
    WRONG: "they had other data elsewhere",
    STRAY: "they were not due: of another rank, before the start, beyond the end, or pads where none belongs",
    DISORDERED: "they came after later ones",
    UNEQUAL: "the pad that repeats them is missing: a rank has a step less than the others",
    LENGTHS: "the epoch was told to end before each of them",
}
"""What breaks a promise, and what is said of the positions in question."""
MARKED, OPEN = "marked", "open"
"""What is allowed: what came again and says so, and what may still be in a member's hands."""

_MOST_EPOCHS = 1000


class Settlement:
    """What was found in one life of a group."""

    def __init__(self, run: Run) -> None:
        self.found: dict[str, Found] = {}
        self.open: list[Range] = []
        """What is missing, and not lost for certain."""
        self.positions = 0
        """How many were delivered, each counted once."""
        self.gaps = 0
        """How many a streamed source left out."""
        self.stood_in_for = 0
        """Positions in whose place a rank was given a copy of another batch, because they were skipped."""
        self._run = run
        epochs = sorted({run.start[0], *run.taken, *run.lengths}.union(*(lane.pads for lane in run.lanes.values())))
        for before, epoch in pairwise(epochs):
            if run.indexed and not any(before in lane.left for lane in run.lanes.values()):
                for skipped in range(before + 1, min(epoch, before + _MOST_EPOCHS)):
                    self.add(LOST, [Range(skipped, 0, 0)])  # nobody knows how long it was
        for epoch in epochs:
            self._settle(epoch)
        for kind, noted in ((STRAY, run.stray), (DISORDERED, run.disordered)):
            for epoch, indices in sorted(noted.items(), key=itemgetter(0)):
                self.add(kind, indices.ranges(epoch))

    def add(self, kind: str, ranges: Iterable[Range]) -> None:
        """Something is to be said of these positions."""
        for one in ranges:
            self.found.setdefault(kind, Found()).add(one)

    def _settle(self, epoch: int) -> None:
        run = self._run
        taken = run.taken.get(epoch) or Tally()
        self.positions += taken.distinct
        self.add(REPEATED, taken.unmarked.ranges(epoch))
        self.add(MARKED, taken.marked.ranges(epoch))
        told = run.lengths.get(epoch)
        length = max(told) if told else run.expected_lengths.get(epoch)
        if not told and length is not None:
            length = max(length, taken.highest + 1)  # it was told before the epoch began, and may have changed
        if told:
            if len(told) > 1:
                self.add(LENGTHS, (Range(epoch, one, one) for one in sorted(told)))
            self.add(STRAY, taken.ranges(epoch, due_end(run, epoch, max(told))))
        lanes = [run.lanes.get(rank) or Lane() for rank in range(run.world_size)]
        if not run.pad and all(lane.finished(epoch) and epoch not in lane.pads for lane in lanes):
            # the shares of the ranks interlock: what all together miss is told in fewer words
            first = run.lower(epoch)
            end = max(taken.highest, first) + 1 if length is None else due_end(run, epoch, length)
            self._miss(self._missing(epoch, taken, first, end), ())
            return
        for rank, lane in enumerate(lanes):
            self._settle_lane(epoch, taken, rank, lane, length)

    def _settle_lane(self, epoch: int, taken: Tally, rank: int, lane: Lane, length: int | None) -> None:
        run = self._run
        first = run.lower(epoch)
        finished = lane.finished(epoch)
        own = lane.highest.get(epoch, -1)
        # what is missing below `sure` is lost, and from there to `reach` open
        sure, reach = own - run.reorder_window, own + 1
        if finished:
            sure = reach = max(taken.highest, first) + 1 if length is None else due_end(run, epoch, length)
        elif epoch in lane.left:
            reach = sure
        elif run.kind == "split":
            sure = first
        elif run.kind == "ranks":
            ended = length is not None and epoch in run.lengths
            reach = due_end(run, epoch, length) if ended and length is not None else taken.highest + 1
        sure = max(sure, first)
        lost = list(self._missing(epoch, taken, first, sure, rank))
        opened = list(self._missing(epoch, taken, sure, reach, rank))
        pads = lane.pads.get(epoch) or Pads()
        due = None if length is None else due_pad(run, epoch, rank, length)
        spare = pads.first + pads.redelivered - (due is not None and due in pads.indices)
        count = sum(one.count for one in lost)
        if count <= spare:
            self.stood_in_for += count
            lost = []
            if finished and run.indexed and length is not None:
                self._settle_pads(epoch, pads, due, count)
            elif count + sum(one.count for one in opened) <= spare:
                opened = []
        self._miss(lost, opened)

    def _settle_pads(self, epoch: int, pads: Pads, due: int | None, stood_in: int) -> None:
        """Compare the pads of a rank that finished its epoch with the one that is due at its end."""
        more = pads.first + pads.redelivered - stood_in - (due is not None)
        if due is not None and (more < 0 or (not stood_in and due not in pads.indices)):
            self.add(UNEQUAL, [Range(epoch, due, due)])
        if not stood_in:
            # otherwise it is not known which of them stand at the end
            self.add(STRAY, (Range(epoch, one, one) for one in pads.indices if one != due))
        if pads.first > (stood_in + (due is not None) if stood_in else len(pads.indices)):
            self.add(REPEATED, [Range(epoch, pads.indices.highest, pads.indices.highest)])
        elif more > 0:
            self.add(MARKED, [Range(epoch, pads.indices.highest, pads.indices.highest)])

    def _miss(self, lost: Iterable[Range], opened: Iterable[Range]) -> None:
        if self._run.indexed:
            self.add(LOST, lost)
            self.open += opened
        else:
            self.gaps += sum(one.count for one in (*lost, *opened))

    def _missing(self, epoch: int, taken: Tally, first: int, end: int, rank: int | None = None) -> Iterator[Range]:
        """What did not come from `first` to before `end`, of one rank or of all together."""
        run = self._run
        had = run.had.get(epoch) or Indices()
        step = 1 if rank is None else run.world_size
        before: Range | None = None
        for begins, ends in taken.gaps(first, end):
            for gap in had.gaps(begins, ends):
                found = share(epoch, *gap, run.lower(epoch) + (rank or 0), step)
                if before and found and found.first == before.last + step:
                    before = Range(epoch, before.first, found.last, step)
                elif found:
                    if before:
                        yield before
                    before = found
        if before:
            yield before


def share(epoch: int, first: int, end: int, own: int, step: int) -> Range | None:
    """What of a gap belongs to a rank that has the index `own` and every `step`-th from there."""
    first += (own - first) % step
    last = first + (end - 1 - first) // step * step
    return Range(epoch, first, last, step if last > first else 1) if first < end else None


def due_end(run: Run, epoch: int, length: int) -> int:
    """The index before which everything is due in an epoch of this length."""
    first = run.lower(epoch)
    if run.kind != "ranks" or run.pad:
        return length
    return first + max(0, length - first) // run.world_size * run.world_size


def due_pad(run: Run, epoch: int, rank: int, length: int) -> int | None:
    """Which index a rank has again at the end of an epoch of this length, if it has one."""
    first = run.lower(epoch)
    if not run.pad or length <= first:
        return None
    stands_at = first + (length - first - 1) // run.world_size * run.world_size + rank
    return None if stands_at < length else (stands_at - length) % length


def still_open(opened: Range, others: Iterable[Run]) -> Iterator[Range]:
    """What of an open range was not taken in other lives of the group either."""
    gaps = [(opened.first, opened.last + 1)]
    for run in others:
        if taken := run.taken.get(opened.epoch):
            gaps = [gap for begins, ends in gaps for gap in taken.gaps(begins, ends)]
    for begins, ends in gaps:
        if found := share(opened.epoch, begins, ends, opened.first, opened.step):
            yield found
