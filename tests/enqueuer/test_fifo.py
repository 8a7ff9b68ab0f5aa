"""The queue of an input reader, with real threads."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import waiting
from enqueued.enqueuer.fifo import Queue
from enqueued.errors import CancelledError, OutOfRangeError

pytestmark = pytest.mark.timeout(30)
SOON_S = 10


class Threads:
    """Calls that block, each in a thread of its own."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(32)

    def call(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        return self.pool.submit(function, *args)


@pytest.fixture
def threads() -> Any:
    """Ends when all of its calls have."""
    found = Threads()
    yield found
    found.pool.shutdown()


def pending(queue: Queue) -> int:
    """How many enqueues and dequeues wait."""
    return len(queue._backlog._enqueues) + len(queue._backlog._dequeues)


def full() -> Queue:
    """A queue of one, with one inside."""
    queue = Queue(1, "q")
    queue.enqueue("first")
    return queue


def test_values_come_in_order() -> None:
    """First in, first out, by either pair of names."""
    queue = Queue(maxsize=3, name="letters")
    queue.enqueue("a")
    queue.put("b")
    assert (queue.name, queue.qsize(), queue.closed) == ("letters", 2, False)
    assert (queue.dequeue(), queue.get(), queue.qsize()) == ("a", "b", 0)


@pytest.mark.parametrize("maxsize", [0, -1])
def test_a_bound_of_nothing_is_none(maxsize: int) -> None:
    """As many values as come."""
    queue = Queue(maxsize, "q")
    for number in range(1000):
        queue.enqueue(number)
    assert [queue.dequeue() for _ in range(1000)] == list(range(1000))


def test_none_is_a_value() -> None:
    """Nothing is read into what passes through."""
    queue = Queue(1, "q")
    queue.enqueue(None)
    assert queue.dequeue() is None


def test_enqueue_waits_for_room(threads: Threads) -> None:
    """What waits is not yet inside; it comes in when there is room, in the order in which it came."""
    queue = full()
    later = []
    for number, value in enumerate("abc", 1):
        later.append(threads.call(queue.enqueue, value))
        waiting.until(lambda number=number: pending(queue) == number)  # type: ignore[misc] # mypy infers no default
    assert queue.qsize() == 1
    assert [queue.dequeue() for _ in range(4)] == ["first", *"abc"]
    assert [one.result(SOON_S) for one in later] == [None] * 3


def test_dequeue_waits_for_a_value(threads: Threads) -> None:
    """The one that waited longest gets the first value."""
    queue = Queue(1, "q")
    one = threads.call(queue.dequeue)
    waiting.until(lambda: pending(queue) == 1)
    two = threads.call(queue.dequeue)
    waiting.until(lambda: pending(queue) == 2)
    queue.enqueue("a")
    assert one.result(SOON_S) == "a"
    queue.enqueue("b")
    assert two.result(SOON_S) == "b"


def test_a_closed_queue_is_drained() -> None:
    """What is inside comes out, then OutOfRangeError, as often as it is asked."""
    queue = full()
    queue.close()
    assert queue.closed
    assert queue.dequeue() == "first"
    for _ in range(2):
        with pytest.raises(OutOfRangeError, match=r"'q' is closed and has insufficient elements"):
            queue.dequeue()


def test_a_closed_queue_takes_nothing() -> None:
    """The error names the queue, in the words of TensorFlow."""
    queue = full()
    queue.close()
    with pytest.raises(CancelledError, match=r"^Queue 'q' is closed\.$"):
        queue.enqueue("late")


def test_a_second_close_says_so() -> None:
    """Only closing with cancelling can be repeated, also after the other one."""
    queue = full()
    queue.close()
    with pytest.raises(CancelledError, match=r"^Queue 'q' is already closed\.$"):
        queue.close()
    queue.close(cancel_pending_enqueues=True)
    queue.close(cancel_pending_enqueues=True)
    with pytest.raises(CancelledError, match="already closed"):
        queue.close()


def test_close_waits_for_the_enqueues_before_it(threads: Threads) -> None:
    """They come in and out, while one that comes after the close fails at once."""
    queue = full()
    before = threads.call(queue.enqueue, "before")
    waiting.until(lambda: pending(queue) == 1)
    close = threads.call(queue.close)
    waiting.until(lambda: queue.closed)
    with pytest.raises(CancelledError, match="is closed"):
        queue.enqueue("after")
    assert not close.done()
    assert queue.dequeue() == "first"
    assert before.result(SOON_S) is close.result(SOON_S) is None
    assert queue.dequeue() == "before"
    with pytest.raises(OutOfRangeError):
        queue.dequeue()


def test_cancelling_is_immediate(threads: Threads) -> None:
    """Enqueues that wait are told, and so is a close that waited for them; what is inside stays."""
    queue = full()
    before = threads.call(queue.enqueue, "before")
    waiting.until(lambda: pending(queue) == 1)
    close = threads.call(queue.close)
    waiting.until(lambda: queue.closed)
    queue.close(cancel_pending_enqueues=True)
    for cancelled, what in ((before, "Enqueue"), (close, "Close")):
        with pytest.raises(CancelledError, match=f"^{what} operation was cancelled: queue 'q'"):
            cancelled.result(SOON_S)
    assert queue.dequeue() == "first"
    with pytest.raises(OutOfRangeError):
        queue.dequeue()


@pytest.mark.parametrize("cancel", [False, True])
def test_closing_ends_those_who_wait_for_values(threads: Threads, cancel: bool) -> None:
    """All that were blocked in dequeue get their end."""
    queue = Queue(1, "q")
    blocked = [threads.call(queue.dequeue) for _ in range(3)]
    waiting.until(lambda: pending(queue) == 3)
    queue.close(cancel_pending_enqueues=cancel)
    for one in blocked:
        with pytest.raises(OutOfRangeError):
            one.result(SOON_S)


def test_what_is_settled_before_its_thread_sleeps_does_not_sleep() -> None:
    """Another thread may come between the look at the queue and the wait."""
    queue = full()
    attempt = queue._backlog.enqueue("second")
    assert queue.dequeue() == "first"
    queue._sleep(attempt)
    assert queue.dequeue() == "second"


class Interrupted(BaseException):
    """What a signal's handler raises."""


@pytest.mark.parametrize("operation", ["enqueue", "dequeue"])
def test_an_interrupted_wait_leaves_nothing_behind(threads: Threads, operation: str) -> None:
    """Ctrl-C in a blocked call: its value does not come in later, and it takes none from the others."""
    queue = full() if operation == "enqueue" else Queue(1, "q")

    def interrupt(*_: object) -> None:
        raise Interrupted

    def poke() -> None:
        waiting.until(lambda: pending(queue) == 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        poking = threads.call(poke)
        with pytest.raises(Interrupted):
            queue.enqueue("interrupted") if operation == "enqueue" else queue.dequeue()
        poking.result(SOON_S)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert pending(queue) == 0
    if operation == "dequeue":
        queue.enqueue("first")
    queue.close()
    assert queue.dequeue() == "first"
    with pytest.raises(OutOfRangeError):
        queue.dequeue()


class LateInterrupt(Queue):
    """Is interrupted when it has been given its value, and has not returned it yet."""

    def _sleep(self, attempt: Any) -> None:
        super()._sleep(attempt)
        raise Interrupted


def test_a_value_that_was_interrupted_is_not_lost(threads: Threads) -> None:
    """The next dequeue gets it, before the younger ones."""
    queue = LateInterrupt(2, "q")
    interrupted = threads.call(queue.dequeue)
    waiting.until(lambda: pending(queue) == 1)
    for value in ("first", "second"):
        queue.enqueue(value)
    with pytest.raises(Interrupted):
        interrupted.result(SOON_S)
    assert (queue.dequeue(), queue.dequeue()) == ("first", "second")


@settings(max_examples=40, deadline=None)
@given(
    maxsize=st.integers(-1, 4),
    producers=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    consumers=st.integers(1, 4),
    cancel=st.booleans(),
)
def test_nothing_is_lost_between_threads(maxsize: int, producers: list[int], consumers: int, cancel: bool) -> None:
    """However threads interleave: each value comes out once, in its producer's order, and everybody comes to an end."""
    queue = Queue(maxsize, "q")
    together = threading.Barrier(len(producers) + consumers + 1)
    accepted: list[list[tuple[int, int]]] = [[] for _ in producers]
    taken: list[list[tuple[int, int]]] = [[] for _ in range(consumers)]

    def produce(number: int, count: int) -> None:
        together.wait(SOON_S)
        try:
            for index in range(count):
                queue.enqueue((number, index))
                accepted[number].append((number, index))
        except CancelledError:
            assert cancel

    def consume(number: int) -> None:
        together.wait(SOON_S)
        try:
            while True:
                taken[number].append(queue.dequeue())
        except OutOfRangeError:
            pass

    with ThreadPoolExecutor(len(producers) + consumers) as pool:
        made = [pool.submit(produce, number, count) for number, count in enumerate(producers)]
        got = [pool.submit(consume, number) for number in range(consumers)]
        together.wait(SOON_S)
        if not cancel:
            for one in made:
                one.result(SOON_S)
        queue.close(cancel_pending_enqueues=cancel)
        for one in [*made, *got]:
            one.result(SOON_S)
    assert sorted(value for one in taken for value in one) == sorted(value for one in accepted for value in one)
    for values in taken:
        for number in range(len(producers)):
            mine = [value for value in values if value[0] == number]
            assert mine == sorted(mine)
    if not cancel:
        assert [len(one) for one in accepted] == producers
