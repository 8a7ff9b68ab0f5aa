"""Sets of positions, against Python's own."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from enqueued.ledger.positions import Found, Indices, Range, Tally
from enqueued.ledger.settlement import share

# around the borders of pages, and far away
numbers = st.integers(0, 40) | st.integers(4090, 4100) | st.integers(8185, 8200) | st.integers(10**18, 10**18 + 3)


@given(st.lists(numbers), numbers, numbers)
def test_indices_are_a_set(members: list[int], first: int, end: int) -> None:
    """Membership, size, order, stretches and gaps agree with a set."""
    indices = Indices()
    seen: set[int] = set()
    for member in members:
        assert indices.add(member) == (member not in seen)
        seen.add(member)
    assert list(indices) == sorted(seen)
    assert len(indices) == len(seen)
    assert indices.highest == max(seen, default=-1)
    assert [number for number in range(50) if number in indices] == sorted(number for number in seen if number < 50)
    stretches = list(indices.stretches(first, end))
    inside = [number for begins, ends in stretches for number in range(begins, ends)]
    assert inside == sorted(number for number in seen if first <= number < end)
    edges = [first, *(edge for stretch in stretches for edge in stretch), end]
    assert all(before < after for before, after in pairwise(edges[1:-1]))  # none touch
    outside = [(begins, ends) for begins, ends in zip(edges[::2], edges[1::2], strict=True) if begins < ends]
    assert list(indices.gaps(first, end)) == outside


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans())))
def test_a_tally_counts_repetitions(history: list[tuple[int, bool]]) -> None:
    """Whatever the order: unmarked is what was delivered twice as if for the first time."""
    tally = Tally()
    for index, redelivered in history:
        tally.add(index, redelivered=redelivered)
    first = [index for index, redelivered in history if not redelivered]
    again = [index for index, redelivered in history if redelivered]
    seen = set(first) | set(again)
    assert tally.distinct == len(seen)
    assert tally.repeats == len(history) - len(seen)
    assert list(tally.unmarked) == sorted({index for index in first if first.count(index) > 1})
    assert list(tally.marked) == sorted({index for index in again if (first + again).count(index) > 1})
    gaps = [number for begins, ends in tally.gaps(0, 15) for number in range(begins, ends)]
    assert gaps == sorted(set(range(15)) - seen)
    came = [number for one in tally.ranges(0, 4) for number in range(one.first, one.last + 1)]
    assert came == sorted(index for index in seen if index >= 4)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 7), st.integers(1, 8))
def test_a_rank_has_a_share_of_a_gap(first: int, end: int, own: int, step: int) -> None:
    """The share of a gap is what every step-th index from the rank's own on has of it."""
    found = share(0, first, end, own, step)
    expected = [index for index in range(first, end) if (index - own) % step == 0]
    assert (list(range(found.first, found.last + 1, found.step)) if found else []) == expected
    assert found is None or found.count == len(expected)


def test_ranges_read_as_positions() -> None:
    """As the errors of a source write them."""
    assert str(Range(0, 117, 117)) == "0:117"
    assert str(Range(0, 117, 120)) == "0:117-0:120"
    assert str(Range(2, 1, 9, 4)) == "2:1-2:9 in steps of 4"


def test_many_findings_are_counted_and_a_thousand_kept() -> None:
    """A ledger in which all is wrong does not fill the memory."""
    found, other = Found(), Found()
    for index in range(900):
        found.add(Range(0, index, index))
        other.add(Range(1, 0, 9))
    found.merge(other)
    assert (found.count, len(found.ranges)) == (9900, 1000)
