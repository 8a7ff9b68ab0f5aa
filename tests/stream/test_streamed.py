"""What groups of a source that only goes forward can count on, one example each."""

from __future__ import annotations

import pytest

from enqueued.batch import Position
from enqueued.errors import Refused
from enqueued.stream.core import Stream
from enqueued.stream.decisions import Decision, Deliver, EndEpoch, Over
from stream_orders import ordered

ALL = [(0, 1 << 40)]


def stream_of(*, queue: int = 4) -> Stream:
    return Stream("sim", indexed=False, max_queue_size=queue, lag_timeout_s=10)


def join(stream: Stream, name: str, credit: int, group: str | None = None, start: str | Position = "first") -> None:
    stream.join(name, group=group, start=start)
    stream.allow(name, credit)


def run(stream: Stream) -> list[Decision]:
    """Make what is ordered and tell members what is decided, until nothing changes."""
    told = stream.decisions()
    while orders := ordered(stream, 100):
        for position in orders:
            stream.made(position, position)
        told += stream.decisions()
    return told


def given_to(member: str, told: list[Decision]) -> list[tuple[Position, bool]]:
    """Positions that a member was given, and whether each is an error in its place."""
    return [(d.position, d.error is not None) for d in told if isinstance(d, Deliver) and d.member == member]


def finish(stream: Stream, member: str) -> None:
    stream.done(member, ALL)
    stream.release(member, ALL)


def lagging(length: int = 0) -> Stream:
    """A stream whose group "late" stopped at 0:1, and whose group "ahead" is far beyond it."""
    stream = stream_of()
    join(stream, "late", 1, "late")
    join(stream, "ahead", 6)
    run(stream)
    if length:
        stream.epoch_length(0, length)
    stream.tick(11)
    for _ in range(3):
        finish(stream, "ahead")
        run(stream)
    finish(stream, "ahead")
    return stream


def test_first_is_refused_when_it_is_gone_and_live_is_accepted() -> None:
    """A group cannot begin at a position that has passed; where the others stand it can."""
    stream = lagging()
    with pytest.raises(Refused, match="position 0:0 of the streamed source 'sim' is gone"):
        stream.join("new")
    assert "new" not in stream.members
    join(stream, "new", 1, start="live")
    assert given_to("new", run(stream)) == [((0, 23), False)]


def test_a_group_cannot_begin_before_a_hole() -> None:
    """One old batch that somebody still holds does not make the batches after it come back."""
    stream = stream_of()
    join(stream, "a", 3)
    run(stream)
    stream.done("a", [(1, 2)])
    stream.release("a", [(1, 2)])
    run(stream)
    assert (0, 0) in stream.window.entries
    with pytest.raises(Refused, match=r"stands at 0:3 to"):
        stream.join("b")


def test_a_lagging_group_is_told_what_it_missed() -> None:
    """It gets one error that names the range, and goes on at the first position that is still there."""
    stream = lagging()
    finish(stream, "late")
    (told,) = [d for d in stream.decisions() if isinstance(d, Deliver) and d.member == "late"]
    assert told.position == (0, 1)
    assert "positions 0:1 up to 0:23 went by" in told.error["message"]
    finish(stream, "late")
    assert given_to("late", run(stream)) == [((0, 23), False)]


def test_a_lagging_group_is_told_of_the_end_of_the_epoch_it_missed() -> None:
    """What it missed is told up to the epoch's end; then comes the end, and then the next epoch."""
    stream = lagging(length=5)
    finish(stream, "late")
    assert given_to("late", run(stream)) == [((0, 1), True)]
    finish(stream, "late")
    told = [d for d in run(stream) if d.member == "late"]
    assert told[0] == EndEpoch("late", 0, 0, 5)
    assert given_to("late", told) == [((1, 0), True)]


def test_nothing_that_went_by_is_ordered_again() -> None:
    """Also when all groups have stopped, so that the late one counts again, and when what is owed again is gone."""
    stream = lagging()
    run(stream)
    stream.tick(40)
    assert stream.groups["late"] in stream.holders
    head = stream.head
    assert all(position >= head for position in ordered(stream, 9))
    stream.tick(41)
    finish(stream, "ahead")
    stream.tick(41)
    join(stream, "heir", 0, "late")
    stream.leave("late")
    assert (0, 0) not in stream.window.entries
    stream.allow("heir", 2)
    assert all(position >= head for position in ordered(stream, 9))
    assert given_to("heir", stream.decisions()) == [((0, 0), True), ((0, 1), True)]
    assert all(position >= head for position in ordered(stream, 9))


def test_a_miss_told_to_a_member_that_dies_is_told_again() -> None:
    """The error that names what was missed is a delivery like any other, and leaves nothing behind."""
    stream = lagging()
    finish(stream, "late")
    stream.decisions()
    join(stream, "heir", 1, "late")
    stream.leave("late")
    (told,) = [d for d in stream.decisions() if isinstance(d, Deliver) and d.member == "heir"]
    assert told.redelivered
    assert "positions 0:1 up to 0:23 went by" in told.error["message"]
    finish(stream, "heir")
    assert (0, 1) not in stream.window.entries
    assert stream.window.queued == sum(e.wanted for e in stream.window.entries.values())


def test_a_group_cannot_begin_at_a_miss() -> None:
    """The error that a late group still holds stands for a batch that is gone, also right before what is kept."""
    stream = stream_of(queue=1)
    join(stream, "late", 1)
    join(stream, "ahead", 1)
    run(stream)
    finish(stream, "ahead")
    stream.tick(11)
    run(stream)
    stream.allow("ahead", 0)
    finish(stream, "ahead")
    run(stream)
    finish(stream, "late")
    stream.allow("late", 1)
    assert given_to("late", stream.decisions()) == [((0, 1), True)]
    with pytest.raises(Refused, match=r"stands at 0:2 to 0:3"):
        stream.join("new", start=(0, 1))


def test_an_ended_epoch_takes_back_the_orders_beyond_its_end() -> None:
    """The next epoch follows, and a batch that comes for a position that does not exist gives its slot back."""
    stream = stream_of()
    join(stream, "a", 9)
    assert ordered(stream, 9) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    stream.made((0, 0), "slot")
    stream.epoch_length(0, 1)
    stream.made((0, 1), "late slot")
    assert stream.window.freed == ["late slot"]
    told = run(stream)
    assert told[1] == EndEpoch("a", 0, 0, 1)
    assert given_to("a", told)[:2] == [((0, 0), False), ((1, 0), False)]


def test_over_comes_once_and_leaves_nothing_behind() -> None:
    """A spent source says so to each member, once; what was ordered or failed beyond its end is dropped."""
    stream = stream_of()
    join(stream, "a", 9)
    ordered(stream, 9)
    stream.failed((0, 2), "beyond the end")
    stream.made((0, 0), "slot")
    stream.epoch_length(0, 1)
    stream.over_from((1, 0))
    told = run(stream)
    assert told[1:] == [EndEpoch("a", 0, 0, 1), Over("a", 0)]
    finish(stream, "a")
    assert run(stream) == []
    stream.seek("a", 1, (1, 0))
    assert run(stream) == [Over("a", 1)]
    assert stream.window.entries == {}
    assert stream.window.queued == 0
    join(stream, "b", 1, start="live")
    assert run(stream) == [Over("b", 0)]


def test_a_shared_group_is_over_when_all_is_acknowledged() -> None:
    """A member may die holding the last batch, so the others are not told before that it is over."""
    stream = stream_of()
    join(stream, "a", 1, "g")
    join(stream, "b", 1, "g")
    ordered(stream, 9)
    stream.made((0, 0), "slot")
    stream.over_from((0, 1))
    (told,) = stream.decisions()
    assert isinstance(told, Deliver)
    other = "b" if told.member == "a" else "a"
    stream.leave(told.member)
    assert given_to(other, stream.decisions()) == [((0, 0), False)]
    finish(stream, other)
    assert stream.decisions() == [Over(other, 0)]


def test_a_broken_source_gives_its_error_and_is_over() -> None:
    """What was made before the break is given first, then the reason, then the end."""
    stream = stream_of()
    join(stream, "a", 9)
    ordered(stream, 9)
    stream.made((0, 0), "slot")
    stream.failed((0, 1), "the worker is gone")
    stream.over_from((0, 2))
    assert stream.live() == (0, 0)
    told = run(stream)
    assert given_to("a", told) == [((0, 0), False), ((0, 1), True)]
    assert told[2:] == [Over("a", 0)]


def test_a_seek_back_keeps_what_it_asks_for() -> None:
    """Batches that only this client still holds are given to it again, not dropped because it lets go of them."""
    stream = stream_of()
    join(stream, "a", 2)
    run(stream)
    stream.release("a", ALL)
    stream.seek("a", 1, (0, 0))
    assert given_to("a", run(stream)) == [((0, 0), False), ((0, 1), False)]


def test_what_waits_is_kept_for_the_next_client() -> None:
    """When the last group leaves, what it had not taken yet stays ready, and what it took does not."""
    stream = stream_of()
    join(stream, "a", 2)
    run(stream)
    stream.leave("a", pinned=[0, 1])
    assert stream.window.queued == 4
    join(stream, "b", 1, start="live")
    assert given_to("b", run(stream)) == [((0, 2), False)]
