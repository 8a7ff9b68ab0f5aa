"""The daemon's side of a worker: what is collected is sent together, and what does not go now goes later."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.arena.segment import Slot
from enqueued.pool.channel import Channel, Message
from enqueued.pool.handle import WorkerHandle
from enqueued.pool.page import Page

Pair = tuple[WorkerHandle, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A handle, and the worker's end of its channel."""
    ours, theirs = Channel.pair()
    page, fd = Page.create(1)
    os.close(fd)
    worker = Channel(theirs)
    yield WorkerHandle(1, 0, 1, ours, page, {}), worker
    ours.close()
    worker.close()


def received(channel: Channel) -> list[Message]:
    """Everything that lies there."""
    messages: list[Message] = []
    try:
        while (message := channel.receive(wait=False)) is not None:
            messages.append(message)
    except BlockingIOError:
        pass
    return messages


def test_single_neighbours_travel_together(pair: Pair) -> None:
    """They are one entry; a stretch stays what it is, whatever stands before or after it. All are outstanding."""
    handle, worker = pair
    handle.order([(0, 3, 2), (0, 5, 1), (0, 6, 1), (1, 0, 1), (0, 9, 1)])
    handle.order([(0, 10, 1), (0, 11, 2), (0, 13, 1)])
    handle.flush()
    assert received(worker) == [
        {"make": [[0, 3, 2], [0, 5, 2], [1, 0, 1], [0, 9, 2], [0, 11, 2], [0, 13, 1]]},
    ]
    handle.order([(0, 14, 1)])
    handle.flush()
    assert received(worker) == [{"make": [[0, 14, 1]]}]
    assert handle.outstanding == [(0, 3), (0, 4), (0, 5), (0, 6), (1, 0), *((0, index) for index in range(9, 15))]
    assert handle.owing == 11


def test_everything_collected_is_one_message(pair: Pair) -> None:
    """And it is sent once."""
    handle, worker = pair
    handle.free(Slot(7, 64, 10))
    handle.grant((0, 1), 100)
    handle.grant((0, 2), 200)
    handle.ask_length(3)
    handle.close_segments([8, 9])
    handle.flush()
    handle.flush()
    assert received(worker) == [{"free": [[7, 64, 1]], "close": [8, 9], "length": [3], "grant": 300}]
    assert handle.granted == 300


def test_who_has_something_to_send_is_known() -> None:
    """Whatever was collected, and until all of it was sent; freed memory only when it is much, or is waited for."""
    unsent: dict[WorkerHandle, None] = {}
    page, fd = Page.create(1)
    os.close(fd)
    channel, theirs = Channel.pair()
    with theirs, closing(channel):
        handle = WorkerHandle(1, 0, 1, channel, page, unsent)
        collected: list[Callable[[], None]] = [
            lambda: handle.order([(0, 1, 1)]),
            lambda: handle.pull(0, 1, 1),
            lambda: handle.free(Slot(7, 0, 1 << 20)),
            lambda: handle.grant((0, 1), 1),
            lambda: handle.close_segments([1]),
            lambda: handle.ask_length(1),
            lambda: handle.ask_canary(1),
            handle.quit,
        ]
        for collect in collected:
            collect()
            assert unsent == {handle: None}
            handle.flush()
            assert unsent == {}
        handle.free(Slot(7, 0, 64))
        assert unsent == {}
        handle.need((0, 1), 100)
        assert unsent == {handle: None}
        handle.flush()
        assert unsent == {}
        while not unsent:  # until the worker's buffer is full
            handle.order([(0, 1, 1)])
            handle.flush()


def test_a_grant_answers_the_position_that_needed_it(pair: Pair) -> None:
    """Others go on waiting."""
    handle, _ = pair
    handle.needs = {(0, 1): 100, (0, 2): 50}
    handle.grant((0, 1), 100)
    assert handle.needs == {(0, 2): 50}


def test_an_answer_ends_the_need_too(pair: Pair) -> None:
    """A slot that came free was as good as a grant: memory that nobody waits for is not looked for."""
    handle, _ = pair
    handle.order([(0, 1, 2)])
    handle.needs = {(0, 1): 100, (0, 2): 50}
    handle.answered((0, 1))
    assert handle.needs == {(0, 2): 50}
    assert handle.outstanding == [(0, 2)]


def test_an_answer_for_many_ends_the_needs_of_all(pair: Pair) -> None:
    """A thread may have waited for memory while another one made what comes before in the same run."""
    handle, _ = pair
    handle.order([(0, 1, 4)])
    handle.needs = {(0, 2): 100, (0, 4): 50}
    handle.answered((0, 1), 3)
    assert handle.needs == {(0, 4): 50}
    assert handle.outstanding == [(0, 4)]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=6),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=12),
)
def test_what_is_not_answered_is_outstanding(ordered: list[tuple[int, int]], answered: list[tuple[int, int]]) -> None:
    """Whatever parts of what was ordered are answered together, in whatever order, and what was never asked for."""
    page, fd = Page.create(1)
    os.close(fd)
    channel, theirs = Channel.pair()
    with theirs, closing(channel):
        handle = WorkerHandle(1, 0, 1, channel, page, {})
        left: list[tuple[int, int]] = []
        index = 0
        for gap, count in ordered:
            index += gap
            handle.order([(2, index, count)])
            left += [(2, index + n) for n in range(count)]
            index += count
        assert handle.outstanding == left
        for first, count in answered:
            handle.answered((2, first), count)
            left = [one for one in left if not first <= one[1] < first + count]
            assert sorted(handle.outstanding) == left
            assert handle.owing == len(left)
            handle.answered((1, first), count)
            assert handle.owing == len(left)


def test_a_little_memory_goes_with_the_next_message_or_when_it_is_waited_for(pair: Pair) -> None:
    """Small slots that came free are not worth a message of their own; together, or where they are missed, they are."""
    handle, worker = pair
    handle.free(Slot(1, 0, 2048))
    handle.flush()
    assert received(worker) == []
    handle.order([(0, 0, 1)])
    handle.flush()
    assert received(worker) == [{"make": [[0, 0, 1]], "free": [[1, 0, 1]]}]
    handle.free(Slot(2, 0, 2048))
    handle.needs = {(0, 0): 4096}
    handle.flush()
    assert received(worker) == [{"free": [[2, 0, 1]]}]
    handle.needs = {}
    for offset in range(40):
        handle.free(Slot(3, offset, 2048))
        handle.flush()
    assert [len(message["free"]) for message in received(worker)] == [33]


def test_what_a_full_channel_does_not_take_goes_later(pair: Pair) -> None:
    """Nothing is lost, nothing goes twice, and the word to stop is not lost either."""
    handle, worker = pair
    sent = 0
    for _ in range(400):
        for _ in range(200):
            handle.free(Slot(sent, 0, 1 << 17))
            sent += 1
        handle.flush()
    handle.quit()
    freed: list[int] = []
    quits = 0
    while len(freed) < sent or not quits:
        for message in received(worker):
            freed += [segment for segment, _, _ in message.get("free", ())]
            quits += "quit" in message
        handle.flush()
    assert freed == list(range(sent))
    assert quits >= 1
    assert handle.stopping


def test_a_dead_worker_does_not_disturb_who_writes_to_it(pair: Pair) -> None:
    """Its zygote will say that it is gone."""
    handle, worker = pair
    worker.close()
    handle.order([(0, 0, 1)])
    handle.quit()
    handle.flush()
