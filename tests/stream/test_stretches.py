"""What is ordered together, and what is waited for so that it can be."""

from __future__ import annotations

from enqueued.stream.core import Stream
from enqueued.stream.decisions import Deliver
from enqueued.stream.plan import Stretch

QUEUE = 32
TOGETHER = 4
"""An eighth of the queue: more are not ordered together."""


def begun(length: int = 1000) -> Stream:
    """A stream whose queue is full of what is ready, and a client that may hold eight."""
    stream = Stream("train", indexed=True, max_queue_size=QUEUE)
    stream.epoch_length(0, length)
    stream.join("a")
    make(stream, stream.orders(100, 64))
    stream.allow("a", 8)
    return stream


def make(stream: Stream, stretches: list[Stretch]) -> None:
    """The workers have made all of these."""
    for epoch, first, count in stretches:
        stream.made((epoch, first), Cells(count), count)


class Cells:
    """A slot of so many batches."""

    def __init__(self, count: int) -> None:
        self.count = count

    def part(self, skip: int, count: int) -> Cells:
        """Some of them."""
        return Cells(count)


def take(stream: Stream, count: int) -> None:
    """The client is given batches, and is done with so many."""
    stream.decisions()
    stream.finish("a", [(min(stream.members["a"].leases), count)])
    stream.decisions()


def test_a_queue_is_filled_with_whole_stretches() -> None:
    """As long as an eighth of it, however many may be ordered together."""
    stream = Stream("train", indexed=True, max_queue_size=QUEUE)
    stream.epoch_length(0, 1000)
    assert stream.orders(100, 64) == [(0, first, TOGETHER) for first in range(0, QUEUE, TOGETHER)]


def test_there_is_room_for_a_whole_stretch_before_one_is_ordered() -> None:
    """While much is ready: each costs the same, however long it is."""
    stream = begun()
    stream.decisions()
    assert stream.orders(100, 64) == [(0, 32, 4), (0, 36, 4)]
    for taken in range(1, 4):
        take(stream, 1)
        assert stream.orders(100, 64) == [], taken
        assert stream.full
    take(stream, 1)
    assert stream.orders(100, 64) == [(0, 40, 4)]


def test_nothing_waits_for_company_where_little_is_ready() -> None:
    """Less than half of it is there, or being made: what workers can take now is ordered at once."""
    stream = Stream("train", indexed=True, max_queue_size=QUEUE)
    stream.epoch_length(0, 1000)
    assert stream.orders(6, 64) == [(0, 0, 4), (0, 4, 2)]
    assert stream.orders(11, 64) == [(0, 6, 4), (0, 10, 4), (0, 14, 3)]
    assert stream.orders(3, 64) == []


def test_who_comes_behind_a_full_queue_does_not_wait_for_company() -> None:
    """What it begins with has gone, and another group wants all that is ready, so that hardly anything more fits."""
    stream = begun()
    stream.allow("a", TOGETHER)
    stream.decisions()
    stream.allow("a", 0)
    take(stream, TOGETHER)
    make(stream, stream.orders(100, 64))
    stream.join("b", start=(0, 1))
    stream.allow("b", 1)
    assert stream.decisions() == []
    make(stream, stream.orders(100, 64))
    assert [one.position for one in stream.decisions() if isinstance(one, Deliver)] == [(0, 1)]


def test_who_stands_at_the_edge_does_not_wait_for_company() -> None:
    """The group behind goes on by one, and the one before it is given one."""
    stream = begun()
    stream.join("b", start=(0, 0))
    stream.allow("b", 1)
    stream.decisions()
    while stream.members["a"].leases:  # until it stands at the edge, a queue before the other
        take(stream, 1)
        make(stream, stream.orders(100, 64))
        stream.decisions()
    for step in range(8):
        assert stream.orders(100, 64) == []
        stream.finish("b", [(step, 1)])
        stream.decisions()
        assert stream.orders(100, 64) == [(0, QUEUE + 1 + step, 1)]
        make(stream, [(0, QUEUE + 1 + step, 1)])
        take(stream, 1)


def test_a_queue_that_became_short_is_not_full_when_it_is_empty() -> None:
    """Memory has become scarce, and no order was asked for since the stretches were longer."""
    stream = begun()
    stream.allow("a", QUEUE)
    assert stream.full
    stream.resize(2)
    take(stream, QUEUE)
    assert stream.window.queued == 0
    assert not stream.full


def test_the_end_of_an_epoch_is_not_waited_beyond() -> None:
    """Its last stretch is as long as it is."""
    stream = begun(length=34)
    stream.decisions()
    assert stream.orders(100, 64) == [(0, 32, 2)]
    assert stream.openings() == [1]
