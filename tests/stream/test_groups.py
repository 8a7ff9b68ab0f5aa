"""What groups of an indexed source can count on, one example each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.batch import Position
from enqueued.errors import Refused
from enqueued.stream.core import Stream
from enqueued.stream.decisions import Decision, Deliver, EndEpoch
from stream_orders import ordered

ALL = [(0, 1 << 40)]


def stream_of(*, queue: int = 4, length: int = 100, epochs: int = 3) -> Stream:
    stream = Stream("train", indexed=True, max_queue_size=queue, lag_timeout_s=10)
    for epoch in range(epochs):
        stream.epoch_length(epoch, length)
    return stream


def join(stream: Stream, name: str, credit: int, group: str | None = None, start: str | Position = "first") -> None:
    stream.join(name, group=group, start=start)
    stream.allow(name, credit)


def make(stream: Stream) -> list[Position]:
    """Make all that is ordered now; the slot of a batch is its position."""
    orders = ordered(stream, 100)
    for position in orders:
        stream.made(position, position)
    return orders


def run(stream: Stream) -> list[Decision]:
    """Make what is ordered and tell members what is decided, until nothing changes."""
    told = stream.decisions()
    while make(stream):
        told += stream.decisions()
    return told


def given_to(member: str, told: list[Decision]) -> list[Position]:
    return [d.position for d in told if isinstance(d, Deliver) and d.member == member]


def finish(stream: Stream, member: str) -> None:
    stream.done(member, ALL)
    stream.release(member, ALL)


def test_the_leader_waits_at_the_edge_for_a_moving_group() -> None:
    """A leader is given no more than the queue's length ahead of a group that still takes batches."""
    stream = stream_of()
    join(stream, "fast", 50)
    join(stream, "slow", 1)
    told = run(stream)
    assert given_to("fast", told) == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)]
    stream.tick(9)
    finish(stream, "slow")
    assert given_to("fast", run(stream)) == [(0, 5)]
    assert stream.made_count == 6


def test_a_newcomer_just_behind_a_full_queue_is_given_its_next_batch() -> None:
    """The batches of a group ahead may fill the queue; the rearmost group still gets on, one batch at a time."""
    stream = stream_of()
    join(stream, "ahead", 3)
    run(stream)
    stream.allow("ahead", 0)
    finish(stream, "ahead")
    assert stream.full
    join(stream, "new", 2)
    assert given_to("new", run(stream)) == [(0, 0), (0, 1)]
    assert stream.window.queued == 5


def test_a_stopped_group_holds_the_window_for_the_lag_time_only() -> None:
    """After the lag time the others go on; when the group comes back its positions are made again."""
    stream = stream_of()
    join(stream, "fast", 50)
    join(stream, "stopped", 1)
    run(stream)
    stream.tick(11)
    stream.allow("fast", 51)
    stream.tick(11)
    assert given_to("fast", run(stream))[-1] == (0, 50)
    finish(stream, "stopped")
    assert given_to("stopped", run(stream)) == [(0, 1)]


def test_a_newcomer_shares_the_queue_with_a_group_far_ahead() -> None:
    """Two groups further apart than the queue is long are each given half of it."""
    stream = stream_of()
    join(stream, "ahead", 50)
    run(stream)
    stream.allow("ahead", 0)
    finish(stream, "ahead")
    stream.window.freed.clear()
    stream.join("new")
    assert make(stream) == [(0, 0), (0, 1)]
    assert sorted(stream.window.freed) == [(0, 52), (0, 53)]
    assert stream.window.queued == 4
    stream.allow("new", 3)
    assert given_to("new", run(stream)) == [(0, 0), (0, 1), (0, 2)]


def test_a_group_that_starts_live_begins_at_the_oldest_position_that_is_kept() -> None:
    """A group that stopped long ago, and is waited for no longer, does not draw a newcomer back to where it stands."""
    stream = stream_of()
    join(stream, "stopped", 0)
    join(stream, "ahead", 50)
    stream.tick(11)
    run(stream)
    assert stream.join("new", start="live").cursor == (0, 50)


def test_a_smaller_share_makes_a_group_plan_anew() -> None:
    """A batch that was in a group's reach, and is dropped when its share is less, is made again in its turn."""
    stream = stream_of(queue=2, length=5)
    join(stream, "behind", 4)
    join(stream, "ahead", 0, start=(1, 0))
    run(stream)
    stream.resize(1)
    stream.allow("ahead", 1)
    stream.decisions()
    finish(stream, "ahead")
    stream.allow("ahead", 0)
    finish(stream, "behind")
    assert given_to("behind", run(stream)) == [(0, 4), (1, 0), (1, 1)]


def test_three_deaths_fail_a_position() -> None:
    """A position that has killed three workers is given to its group as an error, and the next one follows."""
    stream = stream_of(queue=2)
    join(stream, "a", 2)
    assert ordered(stream, 1) == [(0, 0)]
    for _ in range(2):
        stream.lost((0, 0), "it died")
        assert ordered(stream, 1) == [(0, 0)]
    stream.lost((0, 0), "not its doing", killed=False)
    assert ordered(stream, 1) == [(0, 0)]
    stream.lost((0, 0), "it died a third time")
    told = [d for d in run(stream) if isinstance(d, Deliver)]
    assert [(d.position, d.error) for d in told] == [((0, 0), "it died a third time"), ((0, 1), None)]


def test_an_epoch_that_cannot_be_opened_gives_its_error_once_per_try() -> None:
    """Each failed try is told once, in place of the next position, and then the epoch is tried again."""
    stream = stream_of(epochs=0)
    join(stream, "a", 9)
    for n in range(3):
        assert run(stream) == []
        assert stream.openings() == [0]
        stream.epoch_failed(0, f"try {n}")
        assert [(d.position, d.error) for d in run(stream) if isinstance(d, Deliver)] == [((0, n), f"try {n}")]
    assert ordered(stream, 9) == []
    assert stream.openings() == [0]
    stream.epoch_length(0, 5)
    assert given_to("a", run(stream)) == [(0, 3), (0, 4)]


def test_an_opened_epoch_forgets_the_errors_of_earlier_tries() -> None:
    """An error that nobody has taken yet is not given for a position that can be made by now."""
    stream = stream_of(epochs=0)
    join(stream, "a", 9)
    join(stream, "b", 0, start=(0, 2))
    run(stream)
    stream.openings()
    stream.epoch_failed(0, "the first try")
    run(stream)
    assert stream.openings() == [0]
    stream.epoch_length(0, 100)
    told = [d for d in run(stream) if isinstance(d, Deliver)]
    assert {d.error for d in told} == {None}
    assert given_to("a", list(told))[:3] == [(0, 1), (0, 2), (0, 3)]


def test_what_may_be_evicted_begins_with_the_batch_needed_last() -> None:
    """It gives its slot up and is ordered again; a batch that a group stands at, or holds, is never among them."""
    stream = stream_of(queue=4)
    join(stream, "a", 1)
    run(stream)
    spare = stream.spare()
    assert [entry.position for entry in spare] == [(0, 4), (0, 3), (0, 2)]
    stream.evict(spare[:2])
    assert stream.window.freed == [(0, 4), (0, 3)]
    assert [entry.position for entry in stream.spare()] == [(0, 2)]
    assert ordered(stream, 9) == [(0, 3), (0, 4)]


def test_what_a_group_takes_again_is_marked_also_when_a_new_member_began_it() -> None:
    """After a crash of the daemon a fresh client may come before those that know how far their group was."""
    stream = stream_of(length=2)
    stream.join("fresh", group="g", start="first")
    stream.join("knows", group="g", start=(1, 0), returning=True)
    stream.allow("fresh", 9)
    told = [(d.position, d.redelivered) for d in run(stream) if isinstance(d, Deliver)]
    finish(stream, "fresh")
    told += [(d.position, d.redelivered) for d in run(stream) if isinstance(d, Deliver)]
    finish(stream, "fresh")
    told += [(d.position, d.redelivered) for d in run(stream) if isinstance(d, Deliver)]
    assert told[:5] == [((0, 0), True), ((0, 1), True), ((1, 0), True), ((1, 1), True), ((2, 0), False)]


def test_what_a_dead_member_held_goes_to_another_one_marked() -> None:
    """Only what was not acknowledged comes again, before the next position, and it is not made again."""
    stream = stream_of()
    join(stream, "dies", 2, "g")
    run(stream)
    stream.done("dies", [(0, 1)])
    join(stream, "lives", 2, "g")
    stream.leave("dies")
    told = [(d.position, d.redelivered) for d in run(stream) if isinstance(d, Deliver)]
    assert told == [((0, 1), True), ((0, 2), False)]
    assert stream.made_count == len({(0, n) for n in range(7)})


def test_a_pinned_slot_stays_in_use_until_it_is_released() -> None:
    """A slot that a socket still reads outlives the member; one that was released already does not."""
    stream = stream_of(queue=1)
    join(stream, "a", 2)
    run(stream)
    stream.release("a", [(1, 1)])
    stream.leave("a", pinned=[0, 1])
    freed = set(stream.window.freed)
    assert (0, 1) in freed
    assert (0, 0) not in freed
    stream.release("a", [(0, 1)])
    assert stream.window.entries[0, 0].uses == 0  # kept ready for the next one to begin


def test_a_shared_group_ends_an_epoch_when_all_is_acknowledged() -> None:
    """A member that has nothing left to take waits until the others have acknowledged what they hold."""
    stream = stream_of(length=2)
    join(stream, "a", 1, "g")
    join(stream, "b", 1, "g")
    run(stream)
    finish(stream, "a")
    assert run(stream) == []
    finish(stream, "b")
    told = run(stream)
    assert [d for d in told if isinstance(d, EndEpoch)] == told[:2] == [EndEpoch("a", 0, 0, 2), EndEpoch("b", 0, 0, 2)]


def test_a_shared_group_ends_an_epoch_after_what_must_be_made_again() -> None:
    """The last batch of a dead member may be evicted meanwhile; it is made again and given, and then comes the end."""
    stream = stream_of(queue=1, length=1)
    join(stream, "dies", 1, "g")
    join(stream, "lives", 0, "g")
    run(stream)
    stream.leave("dies")
    stream.evict(stream.spare())
    assert (0, 0) in stream.window.freed
    stream.allow("lives", 1)
    assert stream.decisions() == []
    (told,) = run(stream)
    assert isinstance(told, Deliver)
    assert (told.position, told.redelivered) == ((0, 0), True)
    finish(stream, "lives")
    assert run(stream)[0] == EndEpoch("lives", 0, 0, 1)


def test_a_group_held_up_by_its_own_member_is_not_waited_for() -> None:
    """A shared group whose member never acknowledges the epoch's last batch stops no other group."""
    stream = stream_of(length=2, epochs=9)
    join(stream, "keeps", 1, "g")
    join(stream, "waits", 1, "g")
    join(stream, "other", 50)
    run(stream)
    finish(stream, "waits")
    run(stream)
    stream.tick(11)
    assert given_to("other", run(stream))[-1] == (8, 1)
    finish(stream, "keeps")
    assert (1, 0) in given_to("keeps", run(stream))


def test_a_group_may_begin_beyond_its_epochs_end() -> None:
    """It is told of the epoch's end, and the batches ahead of it are kept."""
    stream = stream_of(length=2, epochs=5)
    join(stream, "a", 0, start=(0, 7))
    make(stream)
    stream.rehold()
    assert stream.window.queued == 4
    stream.allow("a", 1)
    assert given_to("a", run(stream)) == [(1, 0)]
    assert stream.made_count == 5


def test_many_short_epochs_are_looked_ahead_into_once() -> None:
    """Epochs of one batch do not stretch the look-ahead beyond what the window can count."""
    stream = stream_of(queue=256, length=1, epochs=400)
    join(stream, "a", 0)
    make(stream)
    join(stream, "b", 0)
    assert make(stream) == []
    assert stream.window.queued == len(stream.window.entries) == stream.made_count


def test_a_shared_group_cannot_be_moved_by_one_member() -> None:
    """Seeking is for private groups; a stranger's or an old seek is counted and ignored."""
    stream = stream_of()
    join(stream, "a", 1, "g")
    with pytest.raises(Refused, match="is shared"):
        stream.seek("a", 1, (0, 0))
    stream.seek("nobody", 1, (0, 0))
    stream.seek("a", 0, (0, 0))
    assert stream.ignored == 2


def test_a_seek_fences_what_was_given_before() -> None:
    """After a seek the group stands at the new position, under the new generation; old slots wait for their release."""
    stream = stream_of()
    join(stream, "a", 2)
    run(stream)
    stream.seek("a", 1, (1, 5))
    assert given_to("a", run(stream)) == []
    stream.release("a", [(0, 2)])
    told = [d for d in run(stream) if isinstance(d, Deliver)]
    assert [(d.position, d.generation) for d in told] == [((1, 5), 1), ((1, 6), 1)]
    assert {(0, 0), (0, 1)} <= set(stream.window.freed)


def test_a_group_that_had_stopped_is_waited_for_again_once_it_seeks() -> None:
    """What it held was all that it may hold, and is its own no more."""
    stream = stream_of(queue=1)
    join(stream, "a", 1)
    run(stream)
    stream.release("a", ALL)
    stream.tick(11)
    join(stream, "b", 0)
    assert stream.groups["private a"] not in stream.holders
    stream.seek("a", 1, (0, 0))
    assert stream.groups["private a"] in stream.holders
    assert given_to("a", run(stream)) == [(0, 0)]


@given(
    queue=st.integers(1, 8),
    length=st.integers(1, 9),
    groups=st.integers(1, 4),
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.booleans()), max_size=40),
)
def test_groups_that_start_together_cost_one_make_per_position(
    queue: int, length: int, groups: int, steps: list[tuple[int, int, bool]]
) -> None:
    """However unevenly they go, no position is ordered twice while all of them move."""
    stream = stream_of(queue=queue, length=length, epochs=200)
    for n in range(groups):
        join(stream, f"g{n}", 0)
    ordered: list[Position] = []
    for who, credit, makes in steps:
        member = f"g{who % groups}"
        stream.allow(member, credit)
        finish(stream, member)
        ordered += make(stream) if makes else []
        stream.decisions()
    assert len(ordered) == len(set(ordered)) == stream.made_count
