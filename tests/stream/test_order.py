"""In which order batches are given, and what a saved state says when some have overtaken others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enqueued.batch import Position
from enqueued.stream.core import Stream
from enqueued.stream.decisions import Deliver, EndEpoch
from stream_orders import ordered

ALL = [(0, 1 << 40)]


def stream_of(*, window: int, length: int = 9) -> Stream:
    stream = Stream("train", indexed=True, max_queue_size=6, reorder_window=window)
    stream.epoch_length(0, length)
    return stream


def delivered(stream: Stream) -> list[Position]:
    return [one.position for one in stream.decisions() if isinstance(one, Deliver)]


def test_a_ready_batch_overtakes_a_straggler_by_the_window_and_no_more() -> None:
    """What comes later is given while one is being made, and that one when it is there."""
    stream = stream_of(window=2)
    stream.join("a")
    stream.allow("a", 9)
    for position in ordered(stream, 9)[1:]:
        stream.made(position, position)
    assert delivered(stream) == [(0, 1), (0, 2)]
    stream.made((0, 0), "late")
    assert delivered(stream) == [(0, 0), (0, 3), (0, 4), (0, 5)]


def test_an_epoch_does_not_end_before_its_stragglers() -> None:
    """Those that overtook are counted, and nothing of the next epoch is given meanwhile."""
    stream = stream_of(window=5, length=3)
    stream.epoch_length(1, 3)
    stream.join("a")
    stream.allow("a", 9)
    for position in ordered(stream, 9)[1:]:
        stream.made(position, position)
    told = stream.decisions()
    assert [one.position for one in told if isinstance(one, Deliver)] == [(0, 1), (0, 2)]
    stream.failed((0, 0), "no")
    told = stream.decisions()
    assert isinstance(told[1], EndEpoch)
    assert [one.position for one in told if isinstance(one, Deliver)] == [(0, 0), (1, 0), (1, 1), (1, 2)]


def test_a_private_client_tells_what_it_had_out_of_order() -> None:
    """It goes on at what it has not had."""
    stream = stream_of(window=2)
    stream.join("a", start=(0, 2), taken=((0, 3), (0, 5)))
    stream.allow("a", 9)
    for position in ordered(stream, 9):
        stream.made(position, position)
    assert delivered(stream) == [(0, 2), (0, 4), (0, 6), (0, 7)]


@given(
    window=st.integers(0, 4),
    made=st.permutations(list(range(6))),
    stop=st.integers(0, 6),
    done=st.sets(st.integers(0, 5)),
)
def test_a_state_of_a_shared_group_says_all_that_is_still_to_come(
    window: int, made: list[int], stop: int, done: set[int]
) -> None:
    """A group that begins from it is given exactly what was not acknowledged, also where batches have overtaken."""
    stream = stream_of(window=window)
    stream.join("a", group="g")
    stream.allow("a", 9)
    ordered(stream, 9)
    acknowledged = set()
    for index in made[:stop]:
        stream.made((0, index), index)
    for number, position in enumerate(delivered(stream)):
        if number in done:
            stream.done("a", [(number, 1)])
            acknowledged.add(position)
    at, missing = stream.groups["g"].standing()
    after = stream_of(window=window)
    after.join("b", group="g", start=at, origin=at, missing=tuple(missing))
    after.allow("b", 9)
    given: list[Position] = []
    while orders := ordered(after, 9):
        for position in orders:
            after.made(position, position)
        given += delivered(after)
        after.done("b", ALL)
        after.release("b", ALL)
    assert sorted(given) == [(0, n) for n in range(9) if (0, n) not in acknowledged]
