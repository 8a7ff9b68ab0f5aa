"""Threads that fill a queue and close it when the input ends."""

from __future__ import annotations

import functools
import itertools
import logging
import threading

import pytest

import waiting
from enqueued.enqueuer.coordinator import Coordinator
from enqueued.enqueuer.fifo import Queue
from enqueued.enqueuer.runner import QueueRunner
from enqueued.errors import CancelledError, OutOfRangeError
from queueing import SOON_S, ClosedQueue, Input, Maker, Nameless, Op, Session, drained, end, join

pytestmark = pytest.mark.timeout(30)


# Threads


def test_each_operation_has_a_thread() -> None:
    """Named by the queue and the operation, whatever that is; the last one waits for the stop."""
    queue, coord = Queue(1, "q"), Coordinator()
    ops = [end, "queue_pipeline:Reader.read", functools.partial(end), Nameless()]
    runner = QueueRunner(queue, ops)
    threads = runner.create_threads(coord=coord)
    names = ["end", "queue_pipeline:Reader.read", "partial", "Nameless", "close_on_stop"]
    assert [one.name for one in threads] == [f"QueueRunnerThread-q-{name}" for name in names]
    assert not any(one.daemon or one.is_alive() for one in threads)
    assert coord._registered_threads == set(threads)


def test_an_operations_own_name_goes_before_that_of_its_function() -> None:
    """Decorated functions often have both."""

    def read() -> None:
        end()

    read.name = "read_op"  # type: ignore[attr-defined] # as decorators do
    (thread,) = QueueRunner(ClosedQueue(), [read]).create_threads(start=True)
    assert thread.name == "QueueRunnerThread-fake-read_op"
    join([thread])


def test_threads_may_be_daemons_and_begin() -> None:
    """As `daemon` and `start` say; without a coordinator there is no thread more."""
    threads = QueueRunner(ClosedQueue(), [end, end]).create_threads(None, None, daemon=True, start=True)
    assert len(threads) == 2
    assert all(one.daemon for one in threads)
    join(threads)


def test_all_of_the_input_comes_through_and_then_the_end() -> None:
    """Several threads read it; the queue is closed behind the last value, and everybody comes to an end."""
    queue, coord = Queue(2, "q"), Coordinator()
    source = Input(queue, 100)
    threads = QueueRunner(queue, [source.read] * 4).create_threads(coord=coord, start=True)
    assert sorted(drained(queue)) == list(range(100))
    coord.join(stop_grace_period_secs=SOON_S)
    assert not coord.should_stop()
    assert not any(one.is_alive() for one in threads)


def test_join_returns_when_the_inputs_end() -> None:
    """Upstream, the thread that waits for a stop never ended, and `join` neither."""
    queue, coord = ClosedQueue(), Coordinator()
    QueueRunner(queue, [end] * 3).create_threads(coord=coord, start=True)
    coord.join()
    assert queue.closes == [False]


def test_only_the_last_thread_closes() -> None:
    """While another one still reads, the queue stays open."""
    queue, door = ClosedQueue(), threading.Event()

    def late() -> None:
        assert door.wait(SOON_S)
        raise OutOfRangeError(None, None, "end")

    first, last = QueueRunner(queue, [end, late]).create_threads(start=True)
    join([first])
    assert queue.closes == []
    door.set()
    join([last])
    assert queue.closes == [False]


def test_other_types_may_be_the_end() -> None:
    """And only those that were named."""
    queue, coord = ClosedQueue(), Coordinator()
    source = Input(Queue(0, "x"), 3, StopIteration())
    runner = QueueRunner(queue, [source.read], queue_closed_exception_types=(StopIteration,))
    join(runner.create_threads(coord=coord, start=True))
    assert (queue.closes, coord.should_stop()) == ([False], False)
    runner = QueueRunner(queue, [end], queue_closed_exception_types=(StopIteration,))
    join(runner.create_threads(start=True))
    assert [type(error) for error in runner.exceptions_raised] == [OutOfRangeError]


def test_an_error_goes_to_the_coordinator() -> None:
    """All stop, the queue is cancelled, `join` raises it, and the runner forgets it."""
    queue, coord = Queue(1, "q"), Coordinator()
    together = threading.Barrier(3)

    def fail() -> None:
        together.wait(SOON_S)
        raise KeyError("broken file")

    def fill() -> None:
        together.wait(SOON_S)
        for number in itertools.count():
            queue.enqueue(number)  # until it is cancelled

    runner = QueueRunner(queue, [fail, fill, fill])
    runner.create_threads(coord=coord, start=True)
    with pytest.raises(KeyError, match="broken file"):
        coord.join(stop_grace_period_secs=SOON_S)
    assert runner.exceptions_raised == []
    assert queue.closed


def test_without_a_coordinator_errors_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    """And logged; the threads that still can go on."""
    queue, error = ClosedQueue(), KeyError("broken file")
    runner = QueueRunner(queue, [Input(Queue(0, "x"), 3, error).read, end])
    join(runner.create_threads(start=True))
    assert runner.exceptions_raised == [error]
    assert "broken file" in caplog.text


@pytest.mark.parametrize("kind", [KeyError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("coordinated", [False, True])
def test_when_the_last_thread_fails_the_queue_is_closed(kind: type[BaseException], coordinated: bool) -> None:
    """Nobody waits for ever for what will not come: upstream did, and at `sys.exit` nobody even heard of it."""
    queue, coord = Queue(1, "q"), Coordinator() if coordinated else None
    runner = QueueRunner(queue, [Input(queue, 3, kind("broken")).read])
    threads = runner.create_threads(coord=coord, start=True)
    values = drained(queue)
    join(threads)
    assert values == [0, 1, 2] or coordinated  # a stop may cancel what waits
    if coord is None:
        assert [type(error) for error in runner.exceptions_raised] == [kind]
    else:
        with pytest.raises(kind):
            coord.join()


def test_a_stop_ends_the_threads_and_cancels() -> None:
    """Also those that are blocked in the queue."""
    queue, coord = Queue(1, "q"), Coordinator()
    threads = QueueRunner(queue, [Input(queue, 100).read] * 3).create_threads(coord=coord, start=True)
    waiting.until(lambda: queue.qsize() == 1)
    coord.request_stop()
    coord.join(stop_grace_period_secs=SOON_S)
    assert queue.closed
    assert not any(one.is_alive() for one in threads)


def test_a_close_that_waits_is_cancelled_by_a_stop() -> None:
    """The queue is full, somebody else's enqueue waits, and so does the close at the end of the input."""
    queue, coord = Queue(1, "q"), Coordinator()
    queue.enqueue("inside")
    cancelled: list[CancelledError] = []

    def other() -> None:
        try:
            queue.enqueue("waits")
        except CancelledError as error:
            cancelled.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    waiting.until(lambda: queue._backlog._enqueues)
    QueueRunner(queue, [end]).create_threads(coord=coord, start=True)
    waiting.until(lambda: queue.closed)
    coord.request_stop()
    coord.join(stop_grace_period_secs=SOON_S)
    join([thread])
    assert cancelled


@pytest.mark.parametrize("stop", [False, True])
def test_errors_of_closing_are_only_logged(stop: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A queue that is closed already is what was wanted."""
    queue, coord = ClosedQueue(fails=True), Coordinator()
    if stop:
        coord.request_stop()
    with caplog.at_level(logging.INFO):
        QueueRunner(queue, [end]).create_threads(coord=coord, start=True)
        coord.join(stop_grace_period_secs=SOON_S)
    assert queue.closes == [stop]
    assert "is already closed" in caplog.text


def test_own_operations_close_the_queue() -> None:
    """Instead of the queue's."""
    queue, calls = ClosedQueue(), []
    coord = Coordinator()
    runner = QueueRunner(queue, [end], lambda: calls.append("close"), lambda: calls.append("cancel"))
    runner.create_threads(coord=coord, start=True)
    coord.join()
    coord.request_stop()
    runner.create_threads(coord=coord, start=True)
    coord.join()
    assert (calls, queue.closes) == (["close", "cancel"], [])


def test_an_error_after_join_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A straggler's error has nobody left to go to."""
    coord, door = Coordinator(), threading.Event()

    def late() -> None:
        assert door.wait(SOON_S)
        raise KeyError("late")

    threads = QueueRunner(ClosedQueue(), [late]).create_threads(coord=coord, start=True)
    coord.request_stop()
    coord.join(stop_grace_period_secs=0, ignore_live_threads=True)
    door.set()
    join(threads)
    assert "failed after its coordinator was joined" in caplog.text


# Threads, again


def test_while_threads_have_not_ended_none_are_made() -> None:
    """Those that never began have not ended; another session is another matter."""
    runner = QueueRunner(ClosedQueue(), [end, end])
    threads = runner.create_threads()
    assert runner.create_threads() == []
    other = runner.create_threads(Maker(end=end, fake_Close=int))
    assert len(other) == 2
    for thread in [*threads, *other]:
        thread.start()
    join([*threads, *other])
    again = runner.create_threads(start=True)
    assert len(again) == 2
    join(again)


def test_each_call_that_makes_threads_forgets_old_errors() -> None:
    """And one that makes none does not."""
    queue = ClosedQueue()
    source = Input(Queue(0, "x"), 0, KeyError("old"))
    runner = QueueRunner(queue, [source.read])
    join(runner.create_threads(start=True))
    assert len(runner.exceptions_raised) == 1
    source.end = OutOfRangeError(None, None, "end")
    waits = runner.create_threads()
    assert runner.exceptions_raised == []
    runner._exceptions_raised.append(KeyError("new"))
    assert runner.create_threads() == []
    assert len(runner.exceptions_raised) == 1
    waits[0].start()
    join(waits)


# Sessions


@pytest.mark.parametrize("kind", [Session, Maker])
def test_a_session_runs_the_operations(kind: type[Session]) -> None:
    """By `make_callable` if it has that, else by `run`; closing and cancelling too."""
    coord, cancelled = Coordinator(), threading.Event()
    sess = kind(read=end, close=int, cancel=cancelled.set)
    runner = QueueRunner(ClosedQueue(), [Op("read")], Op("close"), Op("cancel"))
    runner.create_threads(sess, coord, start=True)
    coord.join()
    assert sess.ran == ["read", "close"]
    coord.request_stop()
    runner.create_threads(sess, coord, start=True)
    coord.join()
    assert cancelled.is_set()


def test_what_cannot_be_run_is_refused() -> None:
    """Before any thread is made, and without leaving anything behind."""
    runner = QueueRunner(ClosedQueue(), [Op("read")])
    with pytest.raises(TypeError, match=r"Op object .* cannot be called. Give functions, or a session"):
        runner.create_threads()
    with pytest.raises(TypeError, match=r"has neither make_callable\(op\) nor run\(op\)"):
        runner.create_threads(sess=3)
    with pytest.raises(TypeError, match=r"coord must be an enqueued\.Coordinator"):
        runner.create_threads(coord="x")  # type: ignore[arg-type] # the point
    assert len(runner.create_threads(Session())) == 1


def test_a_session_that_fails_is_an_error_like_others() -> None:
    """Also while it prepares the operation."""
    coord = Coordinator()
    QueueRunner(ClosedQueue(), [Op("missing")]).create_threads(Maker(), coord, start=True)
    with pytest.raises(KeyError, match="missing"):
        coord.join(stop_grace_period_secs=SOON_S)


# Stages


@pytest.mark.parametrize("fails", [False, True])
def test_stages_close_in_sequence(fails: bool) -> None:
    """The end of the first queue ends the threads of the second, and so on; an error stops all of them."""
    coord = Coordinator()
    names, records, batches = Queue(2, "names"), Queue(3, "records"), Queue(2, "batches")
    files = Input(names, 20, KeyError("broken file") if fails else None)

    def read() -> None:
        name = names.dequeue()
        for line in range(5):
            records.enqueue((name, line))

    def batch() -> None:
        batches.enqueue([records.dequeue() for _ in range(4)])

    ends = (OutOfRangeError, CancelledError)
    for queue, op, count in ((names, files.read, 2), (records, read, 3), (batches, batch, 1)):
        QueueRunner(queue, [op] * count, queue_closed_exception_types=ends).create_threads(coord=coord, start=True)
    found = [record for batch in drained(batches) for record in batch]
    if fails:
        with pytest.raises(KeyError, match="broken file"):
            coord.join(stop_grace_period_secs=SOON_S)
    else:
        coord.join(stop_grace_period_secs=SOON_S)
        assert sorted(found) == [(name, line) for name in range(20) for line in range(5)]
