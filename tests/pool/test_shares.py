"""How streams share the lanes of a daemon."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.pool.shares import Share, Shares, allot

WANTS = st.lists(st.integers(0, 12), min_size=1, max_size=6)


@given(st.integers(0, 20), WANTS, st.data())
def test_lanes_are_divided_evenly_and_none_is_left_over(lanes: int, wants: list[int], data: st.DataObject) -> None:
    """Each gets what it wants, or a fair part at least; only what nobody wants stays unused."""
    awaited = data.draw(st.lists(st.booleans(), min_size=len(wants), max_size=len(wants)))
    got = allot(lanes, wants, awaited)
    assert sum(got) == min(lanes, sum(wants))
    fair = lanes // max(1, sum(want > 0 for want in wants))
    for mine, want in zip(got, wants, strict=True):
        assert min(want, fair) <= mine <= want
        assert all(other <= mine + 1 for other in got) or mine == want


def test_what_is_left_over_goes_to_whom_a_client_waits_for() -> None:
    """Among those who have as many lanes; the first in line come first where there is no lane for each."""
    assert allot(3, [9, 9], [False, True]) == [1, 2]
    assert allot(4, [9, 9, 9], [False, False, True]) == [1, 1, 2]
    assert allot(2, [9, 9, 9], [False, False, True]) == [1, 1, 0]
    assert allot(5, [1, 9, 9], [True, False, True]) == [1, 2, 2]


def nothing() -> None:
    """For a stream that is not woken here."""


def test_a_stream_alone_has_every_lane_it_may_use() -> None:
    """Those that want nothing take nothing away; a stream never has more lanes than workers."""
    shares = Shares()
    few, many = shares.join(2, nothing), shares.join(5, nothing)
    assert (few.allowed, many.allowed) == (2, 5)
    few.note(1, 1, 0.0)
    assert many.allowed == 4
    few.wait(1)
    assert (few.allowed, many.allowed) == (2, 3)


def test_lanes_in_use_are_given_up_one_after_another() -> None:
    """A stream that wakes is not given a lane that is busy, and is given the next that is not."""
    shares = Shares()
    first, second = shares.join(2, nothing), shares.join(2, nothing)
    first.note(1, 1, 0.0)
    first.note(2, 1, 0.0)
    second.wait(2)
    assert (first.allowed, second.allowed) == (1, 0)
    first.note(2, 0, 0.0)
    assert (first.allowed, second.allowed) == (1, 1)
    second.note(3, 1, 0.0)
    assert (first.allowed, second.allowed) == (1, 1)


@dataclass
class Simulated:
    """A stream whose orders take `make_s` each, and how long it has used how many lanes."""

    share: Share
    make_s: float
    wanted: int = 0
    used_s: float = 0.0


class World:
    """A daemon in simulated time: makes begin as `allowed` says, and end when they have taken their time."""

    def __init__(self, makes: list[float], most: list[int], seed: int) -> None:
        self.shares = Shares()
        self.chance = random.Random(seed)
        self.now = 1.0
        self.ends: list[tuple[float, int, int]] = []
        self.streams: list[Simulated] = []
        for n, (make_s, lanes) in enumerate(zip(makes, most, strict=True)):
            self.streams.append(Simulated(self.shares.join(lanes, partial(self.hand_out, n)), make_s))
        self._number = 0

    def hand_out(self, n: int) -> None:
        """Begin what may begin."""
        stream = self.streams[n]
        share = stream.share
        while stream.wanted and share.busy < share.allowed:
            self._number += 1
            stream.wanted -= 1
            share.note(self._number, 1, self.now)
            took = stream.make_s * self.chance.uniform(0.5, 1.5)
            heapq.heappush(self.ends, (self.now + took, n, self._number))
            stream.used_s += took
        share.wait(min(stream.wanted, share.most - share.busy))

    def step(self) -> None:
        """What every turn of the daemon does, for each stream in the same order."""
        for n, stream in enumerate(self.streams):
            stream.share.tick(self.now)
            self.hand_out(n)
            stream.share.pass_on()

    def settle(self) -> None:
        """A turn, after which no lane may be idle that somebody wants."""
        self.step()
        busy = sum(stream.share.busy for stream in self.streams)
        assert busy <= self.shares.lanes
        if any(stream.share.waiting for stream in self.streams):
            assert busy == self.shares.lanes

    def advance(self) -> None:
        """The next make ends."""
        if self.ends:
            self.now, n, number = heapq.heappop(self.ends)
            self.streams[n].share.note(number, 0, self.now)


@given(
    st.lists(st.tuples(st.sampled_from([0.001, 0.03, 1.0]), st.integers(1, 5)), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=60),
    st.integers(0, 9),
)
def test_no_lane_is_idle_that_somebody_wants(
    streams: list[tuple[float, int]], orders: list[tuple[int, int]], seed: int
) -> None:
    """Whatever is wanted when: all lanes are busy or nobody waits, and never more than all."""
    world = World([make_s for make_s, _ in streams], [most for _, most in streams], seed)
    for n, count in orders:
        world.streams[n % len(streams)].wanted = count
        world.settle()
        world.advance()
        world.settle()
    while world.ends:
        world.advance()
        world.settle()
    assert not any(stream.wanted for stream in world.streams)


@pytest.mark.parametrize(
    "streams",
    [
        [(0.005, 2), (0.005, 2)],
        [(0.005, 1), (0.2, 1)],
        [(0.2, 1), (0.005, 1), (0.02, 1)],
        [(0.005, 1), (0.2, 3), (0.2, 2)],
        [(0.02, 1), (0.2, 2), (0.2, 3), (0.02, 1)],
        [(0.2, 3), (0.02, 3)],
    ],
)
def test_streams_that_always_want_more_have_equal_parts(streams: list[tuple[float, int]]) -> None:
    """In the long run each has its part of the lanes, however long its makes take; in turns where they are few."""
    world = World([make_s for make_s, _ in streams], [most for _, most in streams], 1)
    for stream in world.streams:
        stream.wanted = 1 << 40
    while world.now < 21:
        world.step()
        world.advance()
    lanes = max(most for _, most in streams)
    for stream, (_, most) in zip(world.streams, streams, strict=True):
        assert stream.used_s / 20 >= 0.9 * min(most, lanes / len(streams))
