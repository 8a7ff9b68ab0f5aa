"""QueueRunners that are started together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from enqueued.enqueuer.collection import add_queue_runner, clear_queue_runners, start_queue_runners
from enqueued.enqueuer.coordinator import Coordinator
from enqueued.enqueuer.fifo import Queue
from enqueued.enqueuer.runner import QueueRunner
from enqueued.errors import OutOfRangeError

pytestmark = pytest.mark.timeout(30)
SOON_S = 10


@pytest.fixture(autouse=True)
def _no_runners() -> Iterator[None]:
    for collection in ("queue_runners", "others"):
        clear_queue_runners(collection)
    yield
    for collection in ("queue_runners", "others"):
        clear_queue_runners(collection)


class Session:
    """Notes what it runs."""

    def __init__(self) -> None:
        self.ran: list[object] = []

    def run(self, op: object) -> None:
        self.ran.append(op)
        end()


def end() -> None:
    """An input that is at its end."""
    raise OutOfRangeError(None, None, "end")


def runner(name: str) -> QueueRunner:
    """One with two operations."""
    return QueueRunner(Queue(1, name), [end, end])


def test_all_of_a_collection_are_started() -> None:
    """Daemons that run: other than with `create_threads`, both are the default."""
    queues = [runner("a"), runner("b")]
    for one in queues:
        add_queue_runner(one)
    coord = Coordinator()
    threads = start_queue_runners(coord=coord)
    assert len(threads) == 6
    assert all(thread.daemon for thread in threads)
    coord.join(threads, stop_grace_period_secs=SOON_S)
    assert all(one.queue.closed for one in queues)


def test_threads_may_be_made_without_starting() -> None:
    """And without a coordinator, and not as daemons."""
    add_queue_runner(runner("a"))
    threads = start_queue_runners(daemon=False, start=False)
    assert len(threads) == 2
    assert not any(thread.daemon or thread.is_alive() for thread in threads)
    assert start_queue_runners() == []
    for thread in threads:
        thread.start()
        thread.join(SOON_S)


def test_collections_are_apart() -> None:
    """By name; the usual one is "queue_runners"."""
    add_queue_runner(runner("a"))
    add_queue_runner(qr=runner("b"), collection="others")
    add_queue_runner(runner("c"), "others")
    coord = Coordinator()
    threads = start_queue_runners(None, coord, True, False, "queue_runners")
    assert [thread.name for thread in threads] == [
        f"QueueRunnerThread-a-{name}" for name in ("end", "end", "close_on_stop")
    ]
    assert len(start_queue_runners(collection="others", start=False)) == 4


def test_a_session_runs_them() -> None:
    """What is given goes to each."""
    add_queue_runner(runner("a"))
    sess = Session()
    for thread in start_queue_runners(sess):
        thread.join(SOON_S)
    assert len(sess.ran) == 3


def test_an_empty_collection_is_remarked(caplog: pytest.LogCaptureFixture) -> None:
    """A program that waits for its queues would wait for ever."""
    assert start_queue_runners() == []
    assert "found no QueueRunner in the collection 'queue_runners'" in caplog.text


def test_a_collection_can_be_cleared() -> None:
    """As TensorFlow's was with its graph."""
    add_queue_runner(runner("a"))
    clear_queue_runners()
    assert start_queue_runners() == []
