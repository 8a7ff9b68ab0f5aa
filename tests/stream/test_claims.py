"""What clients may claim when they join, whether it is true or not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.batch import Position
from enqueued.errors import ProtocolError, Refused
from enqueued.stream.core import Stream
from enqueued.stream.decisions import Deliver
from enqueued.stream.record import record, restore, settle
from enqueued.stream.roster import GRACE_S, NotYet
from enqueued.stream.stored import Stored
from stream_orders import ordered

RIGHT = Stored((0, 3), ((0, 1),), ((0, 5),), 2, members=1, ahead=9).to_plain()
ALL = [(0, 1 << 40)]
MANY = 65536
"""As many positions as a message may hold."""


def stream_of(*, length: int = 10, queue: int = 4, epochs: int = 3) -> Stream:
    stream = Stream("train", indexed=True, max_queue_size=queue)
    for epoch in range(epochs):
        stream.epoch_length(epoch, length)
    return stream


def run(stream: Stream, *, finish: bool = False) -> list[tuple[Position, bool]]:
    """Make and deliver until nothing changes: which positions were given, and whether each was marked."""
    given: list[tuple[Position, bool]] = []
    while True:
        told = stream.decisions()
        given += [(one.position, one.redelivered) for one in told if isinstance(one, Deliver)]
        orders = ordered(stream, 100)
        for position in orders:
            assert position[1] < stream.lengths[position[0]]
            stream.made(position, position)
        holding = [name for name, member in stream.members.items() if finish and member.leases]
        for name in holding:
            stream.done(name, ALL)
            stream.release(name, ALL)
        if not orders and not told and not holding:
            return given


def restarted(stream: Stream, **options: Any) -> Stream:
    """The daemon is killed just after its state was written, and begins again."""
    written = record(stream)
    settle(stream, written)
    after = stream_of(**options)
    restore(after, written.plain)
    return after


def crashed(members: int = 2) -> Stream:
    """A group in which each member held a batch before the crash."""
    before = stream_of()
    for name in "abc"[:members]:
        before.join(name, group="g")
        before.allow(name, 1)
    run(before)
    return restarted(before)


def back(stream: Stream, name: str, credit: int = 1, **claim: Any) -> None:
    stream.join(name, group="g", start=(0, 0), returning=True, **claim)
    stream.allow(name, credit)


def test_members_that_come_back_go_on_where_they_were() -> None:
    """What is held and acknowledged is not given again, and nothing is given before all are there."""
    stream = crashed()
    back(stream, "a", held=[(0, 0)])
    assert run(stream) == []
    assert stream.waits_for(stream.groups["g"]) == "members of before: 1 of 2 have come back"
    back(stream, "b", acked=[(0, 1), (0, 2)])
    assert [position for position, _ in run(stream)] == [(0, 3)]
    stream.done("a", [(0, 1)])
    assert [position for position, _ in run(stream)] == [(0, 4)]


def test_a_newcomer_waits_while_members_of_before_may_come() -> None:
    """It is told for how long; after that the group is given to whoever is there, and what may come twice is marked."""
    stream = crashed()
    with pytest.raises(NotYet) as refused:
        stream.join("new", group="g", start="stored")
    assert refused.value.within_s == GRACE_S
    stream.tick(GRACE_S)
    stream.join("new", group="g", start="stored")
    stream.allow("new", 3)
    assert run(stream) == [((0, 0), True), ((0, 1), True), ((0, 2), True)]


def test_one_that_comes_back_twice_is_one() -> None:
    """A connection that breaks again does not stand for a member that is missing."""
    stream = crashed(3)
    back(stream, "a")
    stream.leave("a")  # and nobody is there
    back(stream, "a2")
    back(stream, "b")
    stream.leave("a2")
    back(stream, "a3")
    assert run(stream) == []
    stream.tick(2 * GRACE_S)
    assert run(stream) == [((0, 0), True), ((0, 1), True)]


def test_what_a_late_member_held_is_its_own_no_more() -> None:
    """Another one was given it meanwhile; the numbers of its leases are as it counts them all the same."""
    stream = crashed()
    stream.tick(GRACE_S)
    back(stream, "a", credit=2)
    assert [position for position, _ in run(stream)] == [(0, 0), (0, 1)]
    back(stream, "b", credit=1, held=[(0, 1)])
    assert stream.ignored == 1
    assert [(one.member, one.lease) for one in run_raw(stream)] == [("b", 1)]
    stream.leave("b")
    assert (0, 1) not in stream.groups["g"].redeliver


def test_a_lease_of_an_older_generation_is_nobodys() -> None:
    """After a reset what is held counts no more, and its number is not given to another batch."""
    stream = stream_of()
    stream.join("a", group="g")
    stream.reset("g", (1, 0))
    stream.leave("a")
    back(stream, "again", held=[(0, 0)], acked=[(0, 1)])
    assert stream.ignored == 2
    (told,) = [one for one in (run_raw(stream)) if isinstance(one, Deliver)]
    assert (told.position, told.lease) == ((1, 0), 1)
    stream.done("again", [(0, 1)])
    assert stream.groups["g"].holding()


def run_raw(stream: Stream) -> list[Any]:
    told = stream.decisions()
    for position in ordered(stream, 100):
        stream.made(position, position)
    return told + stream.decisions()


def test_a_run_that_the_state_file_does_not_know_of_is_not_put_in_its_place() -> None:
    """A group began anew just before the crash: what it has had since then is not taken for a part of the old run."""
    before = stream_of()
    before.join("old", group="g", start=(2, 5))
    before.leave("old")
    written = record(before)
    settle(before, written)
    assert before.join("new", group="g", start="first").generation == 1
    after = stream_of()
    restore(after, written.plain)
    group = after.join("new again", group="g", start=(0, 0), returning=True, generation=1)
    assert group.cursor == (0, 0)


def test_acknowledgements_reach_over_the_end_of_an_epoch_whose_length_is_not_known_yet() -> None:
    """A new daemon has opened nothing when its members come back."""
    before = stream_of(length=2)
    before.join("a", group="g")
    before.allow("a", 1)
    run(before)
    stream = restarted(before, epochs=0)
    back(stream, "a", credit=9, acked=[(0, 0), (0, 1), (1, 0)])
    stream.decisions()
    ordered(stream, 9)
    for epoch in range(3):
        stream.epoch_length(epoch, 2)
    assert [position for position, _ in run(stream)] == [(1, 1)]
    stream.done("a", ALL)
    stream.release("a", ALL)
    assert [position for position, _ in run(stream)] == [(2, 0), (2, 1)]


def test_what_a_member_held_of_a_later_epoch_comes_in_its_turn() -> None:
    """The state file was older than that epoch, and the member came back and left."""
    before = stream_of(length=2)
    before.join("a", group="g")
    written = record(before)
    settle(before, written)
    stream = stream_of(length=2)
    restore(stream, written.plain)
    back(stream, "a", held=[(1, 0)], acked=[(0, 1)])
    again = restarted(stream, length=2)
    back(again, "a", held=[(1, 0)])
    again.leave("a")
    back(again, "b", credit=9)
    again.tick(3 * GRACE_S)
    assert run(again, finish=True)[:4] == [((0, 0), True), ((1, 0), True), ((1, 1), True), ((2, 0), True)]


far = st.tuples(st.integers(0, 3), st.integers(0, 1 << 40)) | st.tuples(st.integers(0, 1 << 30), st.integers(0, 30))


@given(held=st.lists(far, max_size=5), acked=st.lists(far, max_size=20), taken=st.lists(far, max_size=20))
def test_positions_that_do_not_exist_change_nothing(
    held: list[Position], acked: list[Position], taken: list[Position]
) -> None:
    """Whatever is claimed, all that exists and was not claimed is given, epochs end, and the rest is forgotten."""
    stream = crashed()
    back(stream, "a", held=tuple(held), acked=tuple(acked))
    back(stream, "b", credit=5)
    stream.join("private", taken=tuple(taken))
    stream.allow("private", 3)
    found = {position for position, _ in run(stream, finish=True)}
    every = {(epoch, index) for epoch in range(3) for index in range(10)}
    assert every - {*held, *acked} <= found
    assert stream.groups["private private"].cursor == (3, 0) <= stream.groups["g"].cursor
    assert all(position >= (3, 0) for position in stream.groups["g"].taken)
    assert not stream.groups["private private"].taken


def test_what_many_claims_leave_behind_is_bounded() -> None:
    """Members that claim as much as a message holds, again and again, fill no memory, and cost no time either."""
    stream = crashed()
    for n in range(6):
        claimed = tuple((epoch, n * MANY + index) for epoch in (0, 5) for index in range(MANY // 2))
        back(stream, f"m{n}", held=claimed[:9], acked=claimed)
    assert len(stream.groups["g"].taken) <= 1 << 17
    assert len(ordered(stream, 100)) <= 4


def test_a_saved_state_misses_only_what_it_can() -> None:
    """Positions of other epochs, or ahead, are refused; those that do not exist are not ordered."""
    stream = stream_of()
    for missing in ((0, 1), (1, 5), (2, 0)):
        with pytest.raises(Refused, match="was changed, or put together"):
            stream.join("a", group="g", start=(1, 5), origin=(1, 5), missing=(missing,))
    assert not stream.groups
    stream.join("a", group="g", start=(1, 50), origin=(1, 50), missing=((1, 3), (1, 20), (1, 8)))
    stream.allow("a", 2)
    assert run(stream) == [((1, 3), True), ((1, 8), True)]


def test_much_that_is_missing_is_made_no_faster_than_all_else() -> None:
    """What is to be delivered again fills the queue, and not more."""
    stream = stream_of(length=1 << 20, queue=8)
    stream.join("a", group="g", start=(0, MANY), origin=(0, MANY), missing=tuple((0, n) for n in range(MANY)))
    assert ordered(stream, 1000) == [*((0, n) for n in range(8)), (0, MANY)]
    assert ordered(stream, 1000) == []


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 1 << 70) | st.floats() | st.text(max_size=9) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@given(garbage=plain | st.dictionaries(st.sampled_from(["g", "h", "a b", ""]), plain, min_size=1))
def test_garbage_in_a_state_file_is_refused_whole(garbage: Any) -> None:
    """Nothing of it is taken up, also where a part of it is right."""
    stream = stream_of()
    right = Stored((0, 3), ((0, 1),)).to_plain()
    if isinstance(garbage, dict):
        garbage = {"right": right} | garbage
    if garbage == {"right": right}:
        restore(stream, garbage)
        assert stream.remembered["right"].missing == ((0, 1),)
        return
    with pytest.raises(ProtocolError):
        restore(stream, garbage)
    assert stream.remembered == {}


@pytest.mark.parametrize("at", range(len(RIGHT)))
@pytest.mark.parametrize("wrong", [None, -1, 1.5, float("inf"), "x", [1], [[0]], [[0, -1]], {}, 1 << 64])
def test_each_field_of_a_stored_group_is_looked_at(at: int, wrong: Any) -> None:
    """A number that is none, a list that is none, and what is missing in another epoch."""
    stored = [*RIGHT[:at], wrong, *RIGHT[at + 1 :]]
    if at == 4:
        return  # anything but true is false
    stream = stream_of()
    with pytest.raises(ProtocolError):
        restore(stream, {"g": stored})
    assert stream.remembered == {}
