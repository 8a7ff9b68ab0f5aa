"""The queue between the stages of an input reader."""

from __future__ import annotations

import threading
from typing import Any

from enqueued.enqueuer.backlog import Attempt, Backlog


class Queue:
    """A first-in, first-out queue between threads that can be closed, as TensorFlow's `FIFOQueue` was.

    It holds up to `maxsize` values of any kind (0 or less: no bound); `name` stands in its errors and in the names of
    the threads that fill it. Closing is how a reader learns that the input is at its end: it drains the queue, then
    gets OutOfRangeError. Values are handed over as they are, within this process; for batches that other processes make
    there are the enqueuers and `Client`.

    Operations are served in the order in which they came. Semantics: TensorFlow 1.15, core/kernels/queue_base.cc.
    """

    def __init__(self, maxsize: int, name: str) -> None:
        self._backlog = Backlog(maxsize, name)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Queue {self.name!r}: {self.qsize()} of {self._backlog.maxsize}, {state}>"

    @property
    def name(self) -> str:
        """What it is called, in errors and in the names of threads."""
        return self._backlog.name

    @property
    def closed(self) -> bool:
        """Whether `close` was called; there may still be values to take."""
        return self._backlog.closed

    def qsize(self) -> int:
        """How many values it holds now; those of enqueues that wait are not counted."""
        return len(self._backlog.values)

    def enqueue(self, value: Any) -> None:
        """Append `value`; waits, without limit, while the queue is full.

        Raises CancelledError: the queue "is closed", or the operation "was cancelled" by a close while it waited.
        """
        with self._lock:
            attempt = self._backlog.enqueue(value)
        self._wait(attempt)

    def dequeue(self) -> Any:
        """Take the oldest value; waits, without limit, while the queue is empty and not closed.

        Raises OutOfRangeError: the queue "is closed and has insufficient elements", also when it is closed meanwhile.
        """
        with self._lock:
            attempt = self._backlog.dequeue()
        try:
            self._wait(attempt)
        except BaseException:
            if attempt.settled and attempt.error is None:  # KeyboardInterrupt came between the value and its taker
                with self._lock:
                    self._backlog.give_back(attempt.value)
            raise
        return attempt.value

    put = enqueue
    get = dequeue

    def close(self, cancel_pending_enqueues: bool = False) -> None:
        """Take no more values; what is inside can still be dequeued.

        Waits for the enqueues that wait at this moment, for they came before it. With `cancel_pending_enqueues` these
        get CancelledError instead, and closing is immediate and can be repeated.

        Raises CancelledError: the queue "is already closed" (never with `cancel_pending_enqueues`); or, while this one
        waited, another call cancelled what it waited for.
        """
        with self._lock:
            attempt = self._backlog.close(cancel_pending_enqueues)
        self._wait(attempt)

    def _wait(self, attempt: Attempt) -> None:
        if not attempt.settled:
            self._sleep(attempt)
        if attempt.error is not None:
            raise attempt.error

    def _sleep(self, attempt: Attempt) -> None:
        gate = threading.Lock()  # not a condition: whoever settles the attempt wakes this thread and no other
        gate.acquire()
        with self._lock:
            if attempt.settled:
                return
            attempt.wake = gate.release
        try:
            gate.acquire()
        except BaseException:
            with self._lock:
                if not attempt.settled:
                    self._backlog.withdraw(attempt)
            raise
