"""What a queue runner is made of, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from enqueued.enqueuer.fifo import Queue
from enqueued.enqueuer.runner import QueueRunner
from enqueued.errors import CancelledError, LoadError, OutOfRangeError
from queueing import ClosedQueue, Op, end

pytestmark = pytest.mark.timeout(30)


@pytest.mark.parametrize("arguments", [{}, {"queue": Queue(1, "q")}, {"enqueue_ops": [end]}])
def test_queue_and_operations_are_needed(arguments: dict[str, Any]) -> None:
    """Both of them, and at least one operation."""
    with pytest.raises(ValueError, match=r"^Must provide queue and enqueue_ops\.$"):
        QueueRunner(**arguments)
    with pytest.raises(ValueError, match=r"^Must provide queue and enqueue_ops\.$"):
        QueueRunner(Queue(1, "q"), [])


class Empty(ClosedQueue):
    """A queue that is false in a condition while it is empty."""

    def __len__(self) -> int:
        return 0


def test_an_empty_queue_is_a_queue() -> None:
    """Whether it is there is asked, not what it is worth."""
    assert QueueRunner(Empty(), [end]).name == "fake"


@pytest.mark.parametrize("wrong", [(), [OutOfRangeError], OutOfRangeError, (OutOfRangeError, 3), ("x",), "x"])
def test_closed_types_are_a_tuple_of_exceptions(wrong: Any) -> None:
    """Anything else is a TypeError that shows it."""
    with pytest.raises(TypeError, match="must be a non-empty tuple of exception classes, but saw"):
        QueueRunner(Queue(1, "q"), [end], queue_closed_exception_types=wrong)


@pytest.mark.parametrize("types", [(OutOfRangeError, CancelledError), (StopIteration,), (LookupError, SystemExit)])
def test_closed_types_may_be_any_exceptions(types: Any) -> None:
    """Upstream, only those of its own errors."""
    assert QueueRunner(Queue(1, "q"), [end], None, None, types).queue_closed_exception_types == types


def test_its_properties_are_what_it_was_given() -> None:
    """In the order of the arguments."""
    queue, ops = Queue(1, "q"), [end, int]
    runner = QueueRunner(queue, ops, int, end, (StopIteration,))
    assert runner.queue is queue
    assert runner.name == "q"
    assert runner.enqueue_ops == ops
    assert (runner.close_op, runner.cancel_op) == (int, end)
    assert runner.queue_closed_exception_types == (StopIteration,)
    assert runner.exceptions_raised == []


def test_defaults_close_the_queue() -> None:
    """Under the names that TensorFlow gives these operations."""
    queue = ClosedQueue()
    runner = QueueRunner(queue=queue, enqueue_ops=(op for op in [end]))
    assert runner.queue_closed_exception_types == (OutOfRangeError,)
    assert (runner.close_op.name, runner.cancel_op.name) == ("fake_Close", "fake_Close_1")
    runner.close_op()
    runner.cancel_op()
    assert queue.closes == [False, True]


@pytest.mark.parametrize("queue", [3, "q", Op("only a name")])
def test_what_is_no_queue_is_refused(queue: Any) -> None:
    """Before a thread needs it."""
    with pytest.raises(TypeError, match="queue must have a name and close"):
        QueueRunner(queue, [end])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("queue_pipeline", 'not of the form "module:attribute"'),
        ("queue_pipeline:nothing", "has no attribute 'nothing'"),
        ("no_such_module:read", "ModuleNotFoundError"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(name: str, said: str) -> None:
    """At once, in any of the three places."""
    with pytest.raises(LoadError, match=said):
        QueueRunner(Queue(1, "q"), [name])
    with pytest.raises(LoadError, match=said):
        QueueRunner(Queue(1, "q"), [end], close_op=name)
    with pytest.raises(LoadError, match=said):
        QueueRunner(Queue(1, "q"), [end], cancel_op=name)
