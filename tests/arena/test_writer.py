"""The worker's side: which cell is written next, and when segments come and go."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.arena.segment import Slot, cell_size, cells_per_segment, segment_size
from enqueued.arena.writer import Arena

BIG = 300_000


class Daemon:
    """Notes what an arena publishes and withdraws."""

    def __init__(self, allowance: int = 1 << 30) -> None:
        self.published: list[int] = []
        self.withdrawn: list[int] = []
        self.sizes: dict[int, int] = {}
        self.arena = Arena(3, self.publish, self.withdrawn.append)
        self.arena.allowance = allowance

    def publish(self, number: int, fd: int, size: int) -> None:
        assert os.fstat(fd).st_size == size
        self.published.append(number)
        self.sizes[number] = size

    def take(self, nbytes: int) -> Slot:
        taken = self.arena.take(nbytes)
        assert taken is not None
        slot, memory = taken
        assert memory.nbytes == nbytes == slot.nbytes
        memory[:] = bytes(nbytes)
        memory.release()
        return slot


def test_the_warmest_cell_is_written_first() -> None:
    """Last in, first out."""
    daemon = Daemon()
    slots = [daemon.take(BIG) for _ in range(3)]
    for slot in slots:
        daemon.arena.give(slot.segment, slot.offset)
    assert [daemon.take(BIG) for _ in slots] == slots[::-1]


def test_nothing_is_allocated_in_the_steady_state() -> None:
    """A thousand batches, three of them alive at a time, live in the cells of the first three."""
    daemon = Daemon()
    alive = [daemon.take(BIG) for _ in range(3)]
    published = len(daemon.published)
    for _ in range(1000):
        slot = alive.pop(0)
        daemon.arena.give(slot.segment, slot.offset)
        alive.append(daemon.take(BIG))
    assert len(daemon.published) == published
    assert not daemon.withdrawn


def test_small_cells_share_a_segment() -> None:
    """So that a stream of small batches does with few descriptors."""
    daemon = Daemon()
    slots = [daemon.take(2000) for _ in range(cells_per_segment(cell_size(2000)))]
    assert len(set(slots)) == len(slots)
    assert len(daemon.published) == 1
    daemon.take(2000)
    assert len(daemon.published) == 2


def test_a_batch_beyond_the_allowance_gets_nothing() -> None:
    """Until the daemon grants what is missing."""
    daemon = Daemon(allowance=0)
    assert daemon.arena.take(BIG) is None
    daemon.arena.allowance += daemon.arena.missing(BIG)
    daemon.take(BIG)
    assert daemon.arena.allowance == 0
    assert daemon.arena.missing(BIG) == segment_size(cell_size(BIG))


def test_idle_segments_of_another_size_are_closed_when_memory_is_short() -> None:
    """Those that hold a batch stay."""
    daemon = Daemon(allowance=2 * segment_size(cell_size(BIG)))
    per_segment = cells_per_segment(cell_size(BIG))
    first = [daemon.take(BIG) for _ in range(2 * per_segment)]
    busy = first[0]
    for slot in first[1:]:
        daemon.arena.give(slot.segment, slot.offset)
    assert daemon.arena.take(3 * BIG) is None
    assert daemon.withdrawn == [first[-1].segment]
    daemon.arena.allowance += daemon.sizes[first[-1].segment] * 4
    other = daemon.take(3 * BIG)
    assert other.segment not in (busy.segment, first[-1].segment)
    daemon.arena.give(busy.segment, busy.offset)
    assert daemon.take(BIG).segment == busy.segment


def test_a_segment_with_a_batch_in_it_is_not_closed() -> None:
    """The daemon asks for it back at the wrong moment."""
    daemon = Daemon()
    slot = daemon.take(BIG)
    assert not daemon.arena.close(slot.segment)
    daemon.arena.give(slot.segment, slot.offset)
    assert daemon.arena.close(slot.segment)
    assert not daemon.arena.close(slot.segment)
    assert daemon.withdrawn == [slot.segment]
    daemon.arena.give(slot.segment, slot.offset)
    assert daemon.take(BIG).segment != slot.segment


@pytest.mark.timeout(120)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([100, 70_000, 200_000, 1_500_000])), max_size=40))
def test_cells_that_are_taken_never_overlap(steps: list[tuple[bool, int]]) -> None:
    """Whatever is taken and given back, in whatever order."""
    daemon = Daemon()
    alive: list[Slot] = []
    for give, nbytes in steps:
        if give and alive:
            slot = alive.pop(nbytes % len(alive))
            daemon.arena.give(slot.segment, slot.offset)
        else:
            alive.append(daemon.take(nbytes))
        spans = sorted((slot.segment, slot.offset, slot.offset + slot.nbytes) for slot in alive)
        for before, after in itertools.pairwise(spans):
            assert before[0] != after[0] or before[2] <= after[1]
        assert all(slot.offset + slot.nbytes <= daemon.sizes[slot.segment] for slot in alive)
    for number in daemon.published:
        assert daemon.arena.close(number) != any(slot.segment == number for slot in alive)
