"""What the state file knows of a group is never further behind than what would be marked after a crash."""

from __future__ import annotations

from enqueued.stream.core import Stream
from enqueued.stream.decisions import Deliver
from enqueued.stream.record import LEAST_AHEAD, record, restore, settle, unbind
from stream_orders import ordered

ALL = [(0, 1 << 40)]


def stream_of() -> Stream:
    stream = Stream("train", indexed=True, max_queue_size=8)
    stream.epoch_length(0, 10_000)
    return stream


def join(stream: Stream, name: str) -> None:
    stream.join(name, group="g", start="stored")
    stream.allow(name, 4)


def run(stream: Stream, most: int = 1 << 30) -> int:
    """Make, deliver and finish until nothing changes, or until `most` or a few more were given: how many were."""
    before = stream.delivered
    while stream.delivered - before < most:
        told = [one for one in stream.decisions() if isinstance(one, Deliver)]
        orders = ordered(stream, 100)
        for position in orders:
            stream.made(position, position)
        for name in {one.member for one in told}:
            stream.done(name, ALL)
            stream.release(name, ALL)
        if not told and not orders:
            break
    return stream.delivered - before


def write(stream: Stream, least: int = 3) -> None:
    settle(stream, record(stream, least=least))


def test_a_group_goes_no_further_than_its_record_allows() -> None:
    """It waits until the next one is on disk, which then allows more, because it was fast."""
    stream = stream_of()
    join(stream, "a")
    write(stream)
    assert run(stream) == 3
    record(stream, least=3)  # nobody knows whether this one is on disk
    assert run(stream) == 0
    write(stream)
    assert run(stream) == 12
    write(stream)
    assert run(stream) == 48


def test_a_group_that_was_begun_anew_has_no_more_room_than_before() -> None:
    """Members that leave and come do not make the state file any newer."""
    stream = stream_of()
    join(stream, "a")
    write(stream)
    assert run(stream) == 3
    stream.leave("a")
    join(stream, "b")
    assert run(stream) == 0
    stream.leave("b")
    write(stream)
    join(stream, "c")
    assert run(stream) == 3


def test_a_record_allows_no_less_than_the_one_before() -> None:
    """While it is being written the group may go on as far as that one said, and all of it is marked after a crash."""
    stream = stream_of()
    join(stream, "a")
    write(stream, least=100)
    assert run(stream) == 100
    write(stream, least=10)
    assert run(stream, 40) < 60
    second = record(stream, least=10)
    settle(stream, second)
    third = record(stream, least=10)
    more = run(stream)
    assert more > 100
    after = stream_of()
    restore(after, third.plain)
    assert after.remembered["g"].ahead >= more


def test_a_daemon_that_was_restarted_goes_no_further_than_the_file_it_began_with() -> None:
    """It may be killed again before it has written one of its own."""
    stream = stream_of()
    join(stream, "a")
    written = record(stream, least=5)
    after = stream_of()
    restore(after, written.plain)
    after.tick(100)
    join(after, "b")
    assert run(after) == 5
    write(after)
    assert run(after) == 20


def test_where_nothing_can_be_written_groups_go_on() -> None:
    """A disk that is full stops no training."""
    stream = stream_of()
    join(stream, "a")
    write(stream)
    run(stream)
    unbind(stream)
    assert run(stream, 100) >= 100


def test_after_an_orderly_end_nothing_is_marked() -> None:
    """The last record is final: nobody is expected back but who is there, and nothing was delivered after it."""
    stream = stream_of()
    join(stream, "a")
    run(stream, 5)
    stream.leave("a")
    after = stream_of()
    restore(after, record(stream, final=True).plain)
    join(after, "b")
    assert after.groups["g"].suspects == 0
    restore(after, record(stream).plain)
    assert after.remembered["g"].ahead == LEAST_AHEAD
