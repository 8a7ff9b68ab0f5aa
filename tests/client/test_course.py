"""Where a trainer is: random ways through epochs, for private clients, ranks and reorder windows."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from enqueued.client.course import Course
from enqueued.client.ranks import Share

LENGTHS = st.integers(0, 30)
SIZES = st.integers(1, 6)
TAILS = st.sampled_from(["drop", "pad"])
PADDED = 2


def course_of(share: Share, *, length: int | None = None, window: int = 0, steady: bool = True) -> Course:
    """One that knows what comes next."""
    course = Course(share)
    course.follows, course.window, course.steady = True, window, steady
    course.learn(0, length)
    course.begin(0, share.rank or 0)
    return course


def item(epoch: int, index: int, flags: int = 0) -> list[Any]:
    """As it stands in BATCHES."""
    return [0, 0, 0, epoch, index, flags, 0, 0, 0]


def told(rank: int, size: int, tail: str, base: int, length: int) -> list[list[Any]]:
    """What a daemon gives a rank of an epoch, from PROTOCOL.md."""
    steps = (length - base) // size if tail == "drop" else -(-(length - base) // size)
    virtual = [base + step * size + rank for step in range(max(0, steps))]
    return [item(0, v) if v < length else item(0, (v - length) % length, PADDED) for v in virtual]


@given(st.data(), SIZES, TAILS, LENGTHS)
def test_every_rank_follows_its_share_to_the_end(data: st.DataObject, size: int, tail: Any, length: int) -> None:
    """From any base; after as many steps all ranks name the same next position."""
    base = data.draw(st.integers(0, length))
    after = data.draw(st.integers(0, 10))
    stands = set()
    for rank in range(size):
        course = course_of(Share("g", rank, size, tail), length=length)
        course.begin(0, base + rank, base)
        given_to = told(rank, size, tail, base, length)
        for number, one in enumerate(given_to[:after]):
            assert course.moved is (number > 0)
            assert course.admits(one)
            assert not course.spent
            course.take(one[3], one[4])
        stands.add(course.next_step)
        again = Course(course.share)
        again.follows = True
        claim = course.claim()
        assert claim["start"] == (0, base + min(after, len(given_to)) * size + rank)
        assert claim["base"] == (0, base)
        for one in given_to[after:]:
            assert course.admits(one)
            course.take(one[3], one[4])
        assert course.spent
        assert course.next_step == (1, 0)
        assert course.end(0, length)
        assert (course.epoch, course.index, course.base, course.moved) == (1, rank, 0, False)
    assert len(stands) == 1
    (stand,) = stands
    steps = len(told(0, size, tail, base, length))
    assert stand == ((1, 0) if after >= steps else (0, base + after * size))


@given(st.data(), SIZES, SIZES, LENGTHS)
def test_a_state_serves_any_number_of_ranks(data: st.DataObject, before: int, then: int, length: int) -> None:
    """What was taken and what follows is each index once, but for less than a step at the end."""
    taken = data.draw(st.integers(0, length // before))
    course = course_of(Share("g", 0, before, "drop"), length=length)
    for one in told(0, before, "drop", 0, length)[:taken]:
        course.take(one[3], one[4])
    epoch, index = course.next_step
    if epoch == 1:
        return
    rest = sorted(one[4] for rank in range(then) for one in told(rank, then, "drop", index, length))
    assert rest == list(range(taken * before, taken * before + len(rest)))
    assert length - taken * before - len(rest) < then


@given(LENGTHS, st.integers(0, 5), st.integers(0, 1000))
def test_a_reorder_window_takes_each_index_once(length: int, window: int, seed: int) -> None:
    """In any order within it; what was lost is noticed at the end at the latest."""
    chance = random.Random(seed)
    course, left, seen = course_of(Share(), length=length, window=window), list(range(length)), set()
    lost = chance.choice([None, *left])
    while left:
        index = left.pop(chance.randrange(min(len(left), window + 1 - (left[0] < min(left)))) if window else 0)
        if index > course.index + window:
            left.append(index)
            left.sort()
            index = left.pop(0)
        if index == lost:
            continue
        if not course.admits(item(0, index)):
            assert lost is not None
            return
        course.take(0, index)
        seen.add(index)
        epoch, stand = course.next_step
        if epoch == 0:
            assert set(range(stand)) | course.ahead == seen
            assert course.claim() == {"start": (0, stand), "taken": tuple((0, one) for one in sorted(course.ahead))}
        for one in seen:
            assert not course.admits(item(0, one))
    assert course.end(0, length) is (lost is None)


def test_what_is_not_next_is_not_admitted() -> None:
    """Another epoch, an index before or beyond; a pad may repeat any."""
    course = course_of(Share(), length=5)
    assert [course.admits(item(*at)) for at in ((0, 0), (0, 1), (1, 0))] == [True, False, False]
    course = course_of(Share("g", 1, 2, "pad"), length=5)
    assert [course.admits(item(0, at)) for at in range(4)] == [False, True, False, False]
    assert course.admits(item(0, 3, PADDED))
    assert not course.admits(item(1, 3, PADDED))


def test_an_end_that_comes_too_early_is_noticed() -> None:
    """Something was lost before it."""
    course = course_of(Share(), length=5)
    course.take(0, 0)
    assert not course.end(0, 5)
    assert (course.epoch, course.index) == (0, 1)
    assert course.end(0, 1)
    assert (course.epoch, course.index) == (1, 0)


def test_where_epochs_differ_the_end_is_only_thought() -> None:
    """Until it was told for this very epoch."""
    course = course_of(Share(), length=2, steady=False)
    for index in range(2):
        course.take(0, index)
    assert course.next_step == (1, 0)
    assert course.end(0, 2)
    for index in range(2):
        course.take(1, index)
    assert course.spent
    assert not course.sure
    assert course.next_step == (1, 2)
    course.learn(1, 3)
    assert not course.spent
    course.take(1, 2)
    assert course.next_step == (2, 0)


def test_what_only_goes_forward_is_followed_wherever_it_goes() -> None:
    """A streamed source may leave out what went by; a member of a group gets what the others leave."""
    for share in (Share(), Share("g")):
        course = Course(share)
        for at in ((0, 0), (0, 7), (0, 3)):
            assert course.admits(item(*at))
            course.take(*at)
            assert (course.epoch, course.index) == (0, at[1] + 1)
        assert not course.spent
        assert course.end(0, 8)
        assert (course.epoch, course.index, course.rest) == (1, 0, False)
    assert course.claim() == {"start": (1, 0), "returning": True}
