"""What the ranks of a coordinated group can count on, one example each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from enqueued.batch import Position
from enqueued.errors import Refused
from enqueued.stream.core import Stream
from enqueued.stream.decisions import Deliver
from enqueued.stream.record import record, restore
from enqueued.stream.roster import NotYet
from enqueued.wire.hello import MOST_RANKS, Claim
from enqueued.wire.messages import MOST_COUNTED
from stream_orders import ordered

ALL = [(0, 1 << 40)]


def stream_of(*, queue: int = 64, length: int | None = 10, **options: Any) -> Stream:
    stream = Stream("train", indexed=True, max_queue_size=queue, **options)
    for epoch in range(4) if length is not None else ():
        stream.epoch_length(epoch, length or 0)
    return stream


def join(stream: Stream, rank: int, size: int, credit: int = 100, **claim: Any) -> None:
    stream.join(f"r{rank}", group="crew", rank=rank, world_size=size, **claim)
    stream.allow(f"r{rank}", credit)


def deliveries(stream: Stream) -> list[Deliver]:
    """Make what is ordered until nothing changes: what was given to whom."""
    found: list[Deliver] = []
    while True:
        told = stream.decisions()
        found += [one for one in told if isinstance(one, Deliver)]
        orders = ordered(stream, 100)
        for position in orders:
            stream.made(position, position)
        if not orders and not told:
            return found


def run(stream: Stream) -> dict[str, list[tuple[Position, bool]]]:
    """By member the positions that it was given, and whether each is a pad."""
    given: dict[str, list[tuple[Position, bool]]] = {}
    for one in deliveries(stream):
        given.setdefault(one.member, []).append((one.position, one.padded))
    return given


def finish(stream: Stream, member: str) -> None:
    stream.done(member, ALL)
    stream.release(member, ALL)


def test_nothing_is_given_before_all_ranks_have_come() -> None:
    """The first step needs everybody."""
    stream = stream_of()
    join(stream, 0, 2, credit=2)
    assert run(stream) == {}
    join(stream, 1, 2, credit=2)
    assert run(stream) == {"r0": [((0, 0), False), ((0, 2), False)], "r1": [((0, 1), False), ((0, 3), False)]}


def test_pads_repeat_the_epochs_start_and_are_marked() -> None:
    """An incomplete last step is filled, so that all ranks have as many."""
    stream = stream_of(length=5)
    for rank in range(3):
        join(stream, rank, 3, credit=2, tail="pad")
    given = run(stream)
    assert given == {
        "r0": [((0, 0), False), ((0, 3), False)],
        "r1": [((0, 1), False), ((0, 4), False)],
        "r2": [((0, 2), False), ((0, 0), True)],
    }


@pytest.mark.parametrize(("length", "tail"), [(0, "pad"), (0, "drop"), (1, "drop")])
def test_an_epoch_without_a_step_is_told_once_and_passed(length: int, tail: str) -> None:
    """Nothing is divided by its length, and nobody spins through such epochs unseen."""
    stream = stream_of(length=None)
    for rank in range(2):
        join(stream, rank, 2, credit=2, tail=tail)
    stream.epoch_length(0, length)
    stream.epoch_length(1, 2)
    told = [one for one in deliveries(stream) if one.member == "r1"]
    assert [one.position for one in told] == [(0, 1), (1, 1)]
    assert f"epoch 0 has {length} batches" in told[0].error["message"]


def test_a_rank_that_can_go_on_is_woken_while_its_group_waits_for_one_that_left() -> None:
    """It is still behind the step of the one that left, and is given what is made, whoever else that is made for."""
    stream = stream_of(queue=1, length=3)
    join(stream, 1, 3, credit=0)
    join(stream, 2, 3, credit=0, start=(0, 3), base=(0, 1))
    join(stream, 0, 3, credit=1)
    stream.tick(11)
    stream.leave("r2")
    stream.join("other")
    assert run(stream) == {"r0": [((0, 0), False)]}


@pytest.mark.parametrize(("start", "base"), [((0, 2), (0, 0)), ((0, 4), (0, 4)), ((0, 1), (1, 0)), ((0, 0), None)])
def test_a_position_that_is_not_the_ranks_own_is_refused(start: Position, base: Position | None) -> None:
    """Rank 1 of 3 has 1, 4, 7 and so on from the base; elsewhere it would wait for ever, and others with it."""
    stream = stream_of()
    with pytest.raises(Refused, match="rank 1 of 3 has no batch at"):
        join(stream, 1, 3, start=start, base=base)
    assert not stream.teams
    assert not stream.groups
    join(stream, 1, 3, start=(0, 4), base=(0, 0))
    assert stream.groups["crew/0"].cursor == (0, 3)


def test_a_rank_that_misfits_leaves_the_group_as_it_was() -> None:
    """Another world size, tail or state is not let in, and neither is a rank that is there already."""
    stream = stream_of()
    join(stream, 0, 2)
    misfits: list[dict[str, Any]] = [{"world_size": 3}, {"tail": "pad"}, {"origin": (0, 2)}, {"rank": 0}]
    for claim in misfits:
        with pytest.raises(NotYet):
            stream.join("other", replace(Claim(group="crew", rank=1, world_size=2), **claim))
    assert stream.teams["crew"].present == [0]


def test_a_dead_ranks_positions_wait_for_it_and_are_marked() -> None:
    """The others finish the step that it was at, and go on when it has come back."""
    stream = stream_of()
    join(stream, 0, 2, credit=1)
    join(stream, 1, 2, credit=1)
    run(stream)
    stream.leave("r1")
    finish(stream, "r0")
    assert run(stream) == {}
    stream.join("again", group="crew", rank=1, world_size=2)
    stream.allow("again", 2)
    first, second = [one for one in deliveries(stream) if one.member == "again"]
    assert (first.position, first.redelivered) == ((0, 1), True)
    assert (second.position, second.redelivered) == ((0, 3), False)


@pytest.mark.parametrize("indexed", [True, False])
def test_what_a_dead_rank_held_is_kept_for_its_return(indexed: bool) -> None:
    """It is not made again, and a source that only goes forward could not."""
    stream = Stream("train", indexed=indexed, max_queue_size=2)
    if indexed:
        stream.epoch_length(0, 2)
    join(stream, 0, 2, credit=1)
    join(stream, 1, 2, credit=0)
    run(stream)
    stream.leave("r0")
    stream.join("again", group="crew", rank=0, world_size=2)
    stream.allow("again", 1)
    (told,) = deliveries(stream)
    assert (told.position, told.error, told.redelivered) == ((0, 0), None, True)
    assert stream.made_count == (2 if indexed else 3)


def test_no_rank_is_further_ahead_than_the_queue_is_long() -> None:
    """Also when what it wants is made, for a group that is ahead."""
    stream = stream_of(length=100, queue=4)
    join(stream, 0, 2, credit=1)
    join(stream, 1, 2, credit=50)
    stream.join("ahead", start=(0, 8))
    stream.allow("ahead", 50)
    run(stream)
    assert stream.groups["crew/0"].cursor == (0, 2)
    assert stream.groups["crew/1"].cursor <= (0, 9)


def test_a_rank_that_waits_for_a_pad_is_woken_when_that_is_made() -> None:
    """One batch may be what two ranks wait for, at different positions."""
    stream = stream_of(length=1)
    join(stream, 0, 2, credit=1, tail="pad")
    join(stream, 1, 2, credit=1, tail="pad")
    stream.decisions()
    assert (0, 0) in ordered(stream, 9)
    stream.made((0, 0), "slot")
    assert {(one.member, one.position) for one in deliveries(stream)} == {("r0", (0, 0)), ("r1", (0, 0))}


def test_resizing_in_mid_epoch_counts_steps_from_there() -> None:
    """Two ranks stop at 0:4; four go on from that base."""
    stream = stream_of()
    for rank in range(4):
        join(stream, rank, 4, credit=1, start=(0, 4 + rank), base=(0, 4), origin=(0, 4))
    assert run(stream) == {f"r{rank}": [((0, 4 + rank), False)] for rank in range(4)}


def test_what_is_skipped_is_replaced_in_its_step() -> None:
    """The step stays as long for all ranks, with a marked copy."""
    stream = stream_of(length=4, skip=True)
    join(stream, 0, 2, credit=2)
    join(stream, 1, 2, credit=2)
    for position in ordered(stream, 100):
        if position == (0, 1):
            stream.failed(position, "no")
        else:
            stream.made(position, position)
    assert run(stream) == {"r0": [((0, 0), False), ((0, 2), False)], "r1": [((0, 0), True), ((0, 3), False)]}


def test_a_batch_that_a_rank_waits_for_as_a_pad_is_not_evicted() -> None:
    """Else it would be made again and again while memory is short."""
    stream = stream_of(length=3, queue=8)
    join(stream, 0, 2, credit=2, tail="pad")
    join(stream, 1, 2, credit=1, tail="pad")
    run(stream)
    assert stream.groups["crew/1"].cursor == (0, 3)
    finish(stream, "r0")
    assert (0, 0) not in [entry.position for entry in stream.spare()]


def test_the_place_of_many_ranks_is_found_whoever_moves() -> None:
    """The slowest step is kept while ranks move, and found anew when one goes back."""
    stream = stream_of(length=1000)
    for rank in range(5):
        join(stream, rank, 5, credit=rank + 1)
    run(stream)
    team = stream.teams["crew"]
    assert team.rear() == min(lane.place(lane.cursor) for lane in team.lanes.values()) == (0, 5)
    finish(stream, "r0")
    run(stream)
    assert team.rear() == (0, 10)
    stream.seek("r3", 1, (0, 5))
    assert team.rear() == (0, 5)
    stream.leave("r4")
    assert team.rear() == (0, 0)


def test_a_skipped_position_that_another_group_had_made_is_not_kept_for_ranks() -> None:
    """Ranks are given another batch there, so nobody would ever take it from the window."""
    stream = stream_of(length=4, queue=4, skip=True)
    join(stream, 0, 1, credit=0)
    ordered(stream, 100)
    stream.failed((0, 1), "no")
    assert (0, 1) not in stream.window.entries
    stream.join("other", start=(0, 1))
    assert ordered(stream, 100) == [(0, 1)]
    stream.made((0, 1), "this time")
    stream.allow("other", 1)
    stream.decisions()
    finish(stream, "other")
    assert (0, 1) not in stream.window.entries


def test_a_rank_that_had_left_is_not_waited_for_by_a_new_daemon() -> None:
    """It had taken all of its training; the other comes back from a daemon that was killed, and takes the rest."""
    stream = stream_of(length=6)
    join(stream, 0, 2)
    join(stream, 1, 2, credit=1)
    run(stream)
    finish(stream, "r0")
    stream.leave("r0")
    plain = record(stream).plain
    after = stream_of(length=6)
    restore(after, plain)
    join(after, 1, 2, start=(0, 1), base=(0, 0), returning=True)
    given = [position for position, _ in run(after)["r1"]]
    assert given[:3] == [(0, 1), (0, 3), (0, 5)]
    other = stream_of(length=6)
    join(other, 1, 2, start=(0, 1), base=(0, 0), returning=True)
    assert not run(other).get("r1")


def test_ranks_far_beyond_an_epoch_wait_for_its_length_and_are_remembered() -> None:
    """Nobody takes a large index for the epoch's end, and what the state file says of the others can be read."""
    far = MOST_COUNTED - 1
    stream = stream_of(length=None)
    for rank in (0, 1):
        start = (5, far + rank)
        join(stream, rank, 8, start=start, base=(5, far), tail="pad", origin=(5, far))
    stream.join("alone", start=(5, far))
    stream.allow("alone", 1)
    assert stream.decisions() == []
    restore(stream_of(length=None), record(stream).plain)
    for rank in range(2, 8):
        join(stream, rank, 8, start=(5, far + rank), base=(5, far), tail="pad", origin=(5, far))
    assert stream.decisions() == []
    stream.epoch_length(5, 10)
    assert stream.decisions()


def test_groups_of_ranks_do_not_add_up_without_end() -> None:
    """Each rank costs something, also when nobody comes for it; groups without ranks are let in all the same."""
    stream = stream_of()
    for number in range(2):
        stream.join(f"n{number}", group=f"crew{number}", rank=0, world_size=MOST_RANKS, tail="pad")
    with pytest.raises(Refused, match="have 8192, and 8192 is the most"):
        stream.join("more", group="more", rank=0, world_size=1)
    stream.join("other", group="other")
    stream.leave("n0")
    stream.join("again", group="more", rank=0, world_size=1)


def test_a_rank_that_takes_nothing_is_named() -> None:
    """By those that are as far ahead of it as they may be, also when the others no longer wait for the group."""
    stream = stream_of(queue=4, length=100)
    join(stream, 0, 2)
    join(stream, 1, 2, credit=1)
    assert len(run(stream)["r0"]) > 1
    assert stream.waits_for(stream.groups["crew/0"]) == "rank 1, which takes nothing"
    assert stream.waits_for(stream.groups["crew/1"]) == ""
    stream.allow("r1", 100)
    run(stream)
    assert stream.waits_for(stream.groups["crew/0"]) == ""
