"""Operations, inputs, queues and sessions for the tests of queue runners."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from enqueued.enqueuer.fifo import Queue
from enqueued.errors import CancelledError, OutOfRangeError

SOON_S = 10


class Input:
    """An input of so many numbers, read by any number of threads; then it raises `end`."""

    def __init__(self, queue: Queue, count: int, end: BaseException | None = None) -> None:
        self.queue = queue
        self.numbers = iter(range(count))
        self.end = end or OutOfRangeError(None, None, "the input is at its end")
        self.lock = threading.Lock()

    def read(self) -> None:
        """One number more."""
        with self.lock:
            number = next(self.numbers, None)
        if number is None:
            raise self.end
        self.queue.enqueue(number)


class ClosedQueue:
    """A queue that only notes how it is closed; it may fail at that."""

    name = "fake"

    def __init__(self, fails: bool = False) -> None:
        self.closes: list[bool] = []
        self.fails = fails

    def close(self, cancel_pending_enqueues: bool = False) -> None:
        self.closes.append(cancel_pending_enqueues)
        if self.fails:
            raise CancelledError(None, None, "is already closed")


class Session:
    """Runs operations that are texts, by `run`, or by `make_callable` if it has that."""

    def __init__(self, **operations: Callable[[], object]) -> None:
        self.operations = operations
        self.ran: list[str] = []

    def run(self, op: Any) -> object:
        self.ran.append(op.name)
        return self.operations[op.name]()


class Maker(Session):
    """A session of the newer kind."""

    def run(self, op: Any) -> object:
        raise AssertionError("make_callable is there")

    def make_callable(self, op: Any) -> Callable[[], object]:
        self.ran.append(op.name)
        return self.operations[op.name]


class Op:
    """An operation that only a session can run."""

    def __init__(self, name: str) -> None:
        self.name = name


class Nameless:
    """An operation that can be called, and has no name."""

    def __call__(self) -> None:
        end()


def end() -> None:
    """An operation whose input is at its end."""
    raise OutOfRangeError(None, None, "end")


def drained(queue: Queue) -> list[Any]:
    """All that comes out until the end."""
    values = []
    try:
        while True:
            values.append(queue.dequeue())
    except OutOfRangeError:
        return values


def join(threads: list[threading.Thread]) -> None:
    """Wait for the end of all of them."""
    for thread in threads:
        thread.join(SOON_S)
        assert not thread.is_alive()
