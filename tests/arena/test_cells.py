"""Free cells: each is given once, and whoever takes one after the other gets neighbours."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from enqueued.arena.cells import Cells, Place

CELL = 2048
PER_SEGMENT = 12
NUMBERS = st.integers(0, 999)


def drained(cells: Cells) -> list[Place]:
    """All that is free, in the order in which it is taken."""
    found = []
    while (place := cells.take()) is not None:
        found.append(place)
    return found


def runs(places: list[Place]) -> list[list[Place]]:
    """Places that follow each other, in memory and in the list."""
    found: list[list[Place]] = []
    for place in places:
        if found and found[-1][-1] == (place[0], place[1] - CELL):
            found[-1].append(place)
        else:
            found.append([place])
    return found


class AgainstASet(RuleBasedStateMachine):
    """Segments come, cells are taken and given back, segments go; a set of places says what is free."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = Cells(CELL)
        self.free: set[Place] = set()
        self.taken: list[Place] = []
        self.segments = 0
        self.rest: list[Place] = []
        """What is left of the run that is being taken: what was free behind its first cell then."""

    @rule(count=st.integers(1, PER_SEGMENT))
    def grow(self, count: int) -> None:
        """A new segment, whole."""
        self.cells.give(self.segments, 0, count)
        self.free |= {(self.segments, n * CELL) for n in range(count)}
        self.segments += 1

    @rule()
    def take(self) -> None:
        """A free one if there is any: the next of a run that was begun, whatever has happened since."""
        place = self.cells.take()
        assert (place is None) == (not self.free)
        if place is None:
            return
        assert place in self.free
        if self.rest:
            assert place == self.rest.pop(0)
        else:
            after = (place[0], place[1] + CELL)
            while after in self.free:
                self.rest.append(after)
                after = (after[0], after[1] + CELL)
        self.free.remove(place)
        self.taken.append(place)

    @precondition(lambda self: self.taken)
    @rule(which=NUMBERS, most=st.integers(1, PER_SEGMENT))
    def give(self, which: int, most: int) -> None:
        """Some neighbours that are taken come back together."""
        segment, offset = self.taken[which % len(self.taken)]
        count = 0
        while count < most and (segment, offset + count * CELL) in self.taken:
            place = (segment, offset + count * CELL)
            self.taken.remove(place)
            self.free.add(place)
            count += 1
        self.cells.give(segment, offset, count)

    @precondition(lambda self: self.segments)
    @rule(which=NUMBERS)
    def forget(self, which: int) -> None:
        """A segment of which nothing is taken is closed."""
        segment = which % self.segments
        if not any(place[0] == segment for place in self.taken):
            self.cells.forget(segment)
            self.free = {place for place in self.free if place[0] != segment}
            self.rest = [place for place in self.rest if place[0] != segment]

    @invariant()
    def nothing_is_both(self) -> None:
        """Whatever the order."""
        assert not self.free & set(self.taken)

    def teardown(self) -> None:
        """In the end everything that is free can be taken, and nothing else."""
        found = drained(self.cells)
        assert len(found) == len(set(found))
        assert set(found) == self.free


TestAgainstASet: Any = AgainstASet.TestCase
TestAgainstASet.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(st.randoms(use_true_random=False), st.lists(st.integers(1, PER_SEGMENT), min_size=1, max_size=4))
def test_whatever_the_order_in_which_they_come_back_each_segment_is_whole_again(
    chance: random.Random, sizes: list[int]
) -> None:
    """Given back in pieces of any length; then each segment is taken in one go, in ascending order."""
    cells = Cells(CELL)
    for segment, size in enumerate(sizes):
        cells.give(segment, 0, size)
    assert len(drained(cells)) == sum(sizes)
    pieces = []
    for segment, size in enumerate(sizes):
        first = 0
        while first < size:
            count = chance.randint(1, size - first)
            pieces.append((segment, first * CELL, count))
            first += count
    chance.shuffle(pieces)
    for piece in pieces:
        cells.give(*piece)
    found = runs(drained(cells))
    assert sorted(map(len, found)) == sorted(sizes)
    assert {run[0] for run in found} == {(segment, 0) for segment in range(len(sizes))}


def test_what_was_freed_last_is_taken_first() -> None:
    """It is still warm; and what it has joined comes with it, from its first cell on."""
    cells = Cells(CELL)
    for segment in range(3):
        cells.give(segment, 0, 4)
    drained(cells)
    for segment, first, count in ((0, 1, 1), (1, 0, 2), (2, 3, 1), (0, 2, 2)):
        cells.give(segment, first * CELL, count)
    order = [(0, 1), (0, 2), (0, 3), (2, 3), (1, 0), (1, 1)]
    assert drained(cells) == [(segment, cell * CELL) for segment, cell in order]


def test_a_run_that_is_being_taken_is_finished_first() -> None:
    """What comes back meanwhile waits: neighbours in time stay neighbours in memory."""
    cells = Cells(CELL)
    cells.give(0, 0, 4)
    assert [cells.take(), cells.take()] == [(0, 0), (0, CELL)]
    cells.give(1, 0, 1)
    cells.give(0, 0, 2)
    assert drained(cells) == [(0, 2 * CELL), (0, 3 * CELL), (0, 0), (0, CELL), (1, 0)]


def test_a_segment_that_is_closed_while_it_is_being_taken_gives_nothing_more() -> None:
    """Neither the rest of the run nor what has come back."""
    cells = Cells(CELL)
    cells.give(7, 0, 5)
    first = cells.take()
    assert first == (7, 0)
    cells.give(7, 0, 1)
    cells.forget(7)
    assert cells.take() is None
