"""Positions that wait for a worker: each is handed out once, in the order in which it came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enqueued.batch import Position
from enqueued.pool.backlog import Backlog
from enqueued.stream.plan import Stretch

stretches = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1000), st.integers(1, 50)), max_size=6)


def spread(parts: list[Stretch]) -> list[Position]:
    """The positions of stretches, one by one."""
    return [(epoch, first + n) for epoch, first, count in parts for n in range(count)]


@given(st.lists(st.one_of(stretches, st.integers(0, 60)), max_size=30))
def test_positions_come_out_in_the_order_in_which_they_went_in(steps: list[list[Stretch] | int]) -> None:
    """As many as were asked for, or all that there are; its length and its positions are those that are left."""
    backlog, left = Backlog(), list[Position]()
    for step in steps:
        if isinstance(step, int):
            taken = backlog.take(step)
            assert all(count > 0 for _, _, count in taken)
            assert spread(taken) == left[:step]
            del left[:step]
        else:
            backlog.add(step)
            left += spread(step)
        assert list(backlog) == left
        assert len(backlog) == len(left)
        assert bool(backlog) == bool(left)


def test_a_stretch_is_divided_only_where_it_has_to_be() -> None:
    """A worker that makes it whole can tell it whole."""
    backlog = Backlog()
    backlog.add([(0, 0, 10), (0, 10, 5), (1, 0, 3)])
    assert backlog.take(12) == [(0, 0, 10), (0, 10, 2)]
    assert backlog.take(0) == []
    assert backlog.take(4) == [(0, 12, 3), (1, 0, 1)]
    assert backlog.take(9) == [(1, 1, 2)]
    assert backlog.take(9) == []
