"""Batches that are built in their slots: the same bytes as if they had been copied there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.arena.segment import Slot
from enqueued.arena.writer import Arena
from enqueued.codec.encode import encode
from enqueued.pool.draft import Draft
from enqueued.source.building import build_in, empty

KINDS = [((7,), "u1"), ((3, 5), "f4"), ((100, 70), "f8"), ((), "i8"), ((0, 4), "i2"), ((33000,), "u1")]


class Lane:
    """An arena, and what a worker does with it."""

    def __init__(self, allowance: int = 1 << 30) -> None:
        self.arena = Arena(1, lambda segment, fd, size: None, lambda segment: None)
        self.arena.allowance = allowance
        self.draft = Draft(self.arena.take, lambda slot: self.arena.give(slot.segment, slot.offset))
        self.in_place: bool | None = None

    def make(self, build: Callable[[], Any]) -> tuple[Slot, bytes]:
        """Make one batch: its slot, and the bytes that lie there. `in_place` says whether it was handed on as built."""
        self.draft.begin()
        try:
            batch = build()
            encoded = encode(batch)
            built = self.draft.write(encoded) if self.draft.asked else None
            nbytes = encoded.nbytes
            if built is not None:
                del batch, encoded
                self.in_place = self.draft.release()
                if self.in_place:
                    return built[0], bytes(built[1])
            self.in_place = False
            found = self.arena.take(nbytes)
            assert found is not None
            slot, memory = found
            if built is None:
                encoded.write_into(memory)
            else:
                memory[:] = built[1]
            return slot, bytes(memory)
        finally:
            self.draft.end()

    @property
    def taken(self) -> int:
        """How many cells are in use."""
        return sum(segment.taken for segment in self.arena._segments.values())


@pytest.fixture
def lane() -> Any:
    """A lane of this thread."""
    one = Lane()
    build_in(one.draft.empty)
    yield one
    build_in(None)


def pair(number: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A batch of two arrays that are built in place."""
    x, y = empty((64, 50, 50), np.uint8), empty(64, np.int64)
    x[...], y[...] = number, number
    return x, y


def test_the_second_batch_of_a_kind_is_not_copied(lane: Lane) -> None:
    """The first one shows what to make room for. The slot is one like any other: it is freed and used again."""
    slots = []
    for number in range(5):
        slot, data = lane.make(partial(pair, number))
        assert lane.in_place is (number > 0)
        assert data == bytes(written(pair(number)))
        slots.append(slot)
    assert len({(slot.segment, slot.offset) for slot in slots}) == lane.taken == 5
    for slot in slots:
        lane.arena.give(slot.segment, slot.offset)
    assert lane.taken == 0
    assert lane.make(lambda: pair(9))[0] in slots


def written(batch: Any) -> bytearray:
    """The bytes of a batch that is encoded as usual."""
    encoded = encode(batch)
    memory = bytearray(encoded.nbytes)
    encoded.write_into(memoryview(memory))
    return memory


leaf = st.tuples(st.sampled_from(KINDS), st.booleans(), st.integers(0, 255))


@given(st.lists(st.tuples(st.lists(leaf, max_size=4), st.permutations(range(4)), st.integers(0, 3)), max_size=8))
def test_the_bytes_are_those_of_a_copy(batches: list[Any]) -> None:
    """Whatever is built in place, in whichever order, given twice, cut or left out."""
    lane = Lane()

    def build(leaves: list[Any], order: list[int], change: int) -> Any:
        arrays: dict[int, np.ndarray[Any, Any]] = {}
        for n in [n for n in order if n < len(leaves)]:
            (shape, dtype), place, number = leaves[n]
            arrays[n] = empty(shape, dtype) if place else np.empty(shape, dtype)
            arrays[n][...] = number
        found = [arrays[n] for n in range(len(leaves))]
        if change == 1:
            found += found[:1]
        elif change == 2:
            found = [array[: len(array) // 2] if array.ndim else array for array in found]
        elif change == 3:
            found = [array[::-1] if array.ndim else array for array in found]
        return {"leaves": found, "number": len(leaves)}

    for leaves, order, change in batches:
        expected = written(build(leaves, order, change))
        build_in(lane.draft.empty)
        try:
            slot, data = lane.make(partial(build, leaves, order, change))
        finally:
            build_in(None)
        assert data == bytes(expected)
        assert slot.nbytes == len(expected)


def test_an_array_that_is_kept_is_copied_from(lane: Lane) -> None:
    """What the source writes to it later does not change a batch that was handed on."""
    lane.make(lambda: pair(0))
    kept: list[Any] = []

    def build() -> Any:
        batch = pair(1)
        kept.append(batch[0][3:])
        return batch

    slot, data = lane.make(build)
    assert lane.in_place is False
    kept[0][...] = 77
    found = lane.arena._segments[slot.segment].view[slot.offset : slot.offset + slot.nbytes]
    assert bytes(found) == data == bytes(written(pair(1)))
    before = lane.taken
    kept.clear()
    lane.make(lambda: pair(2))
    assert lane.in_place is True
    assert lane.taken == before  # the slot that was kept has come back, and was taken


def test_who_keeps_everything_gets_arrays_outside_of_slots(lane: Lane) -> None:
    """So it takes no more than two slots for nothing."""
    kept = []

    def build(number: int) -> Any:
        batch = pair(number)
        kept.append(batch)
        return batch

    for number in range(10):
        slot, _ = lane.make(partial(build, number))
        lane.arena.give(slot.segment, slot.offset)
    assert lane.taken == 2
    assert [int(batch[1][0]) for batch in kept] == list(range(10))


def test_what_raises_gives_its_slot_back(lane: Lane) -> None:
    """Once the error, which holds on to the frame and so to the array, is forgotten."""
    lane.make(lambda: pair(0))

    def build() -> Any:
        pair(1)
        raise ValueError("no")

    for _ in range(5):
        with pytest.raises(ValueError, match="no"):
            lane.make(build)
    lane.make(lambda: pair(2))
    assert lane.in_place is True
    assert lane.taken == 2


def test_where_there_is_no_memory_it_is_an_array_like_any_other() -> None:
    """The batch waits for memory when it is made, not while it is being made."""
    lane = Lane(allowance=0)
    build_in(lane.draft.empty)
    try:
        lane.draft.begin()
        lane.draft.write(encode(pair(0)))
        lane.draft.end()
        lane.draft.begin()
        assert pair(1)[0].base is None
        lane.draft.end()
    finally:
        build_in(None)


def test_outside_of_a_make_it_is_an_array_like_any_other(lane: Lane) -> None:
    """Between batches, and where there is no worker at all; shapes and dtypes as for numpy.empty."""
    lane.make(lambda: pair(0))
    assert pair(1)[0].base is None
    build_in(None)
    assert empty(3).dtype == np.float64
    assert empty(np.int64(3)).shape == (3,)
    assert empty([2, 3], "u2").shape == (2, 3)
    assert empty((), bool).shape == ()
    with pytest.raises(TypeError):
        empty("ab")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negative"):
        empty((2, -1))
