"""What a queue holds and who waits for it, decided without threads or clocks.

Each operation gives an `Attempt`, which is settled at once or by a later operation, in the order of arrival. Who waits
is woken through `Attempt.settle`; that is all that this part knows of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from enqueued.errors import CancelledError, OpError, OutOfRangeError


class Attempt:
    """One operation on its way: `settled`, and then with a `value` or an `error`."""

    __slots__ = ("error", "settled", "value", "wake")

    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.error: OpError | None = None
        self.settled = False
        self.wake: Callable[[], None] | None = None

    def settle(self, error: OpError | None = None) -> None:
        """End it, and wake who waits for it."""
        self.error = error
        self.settled = True
        if self.wake is not None:
            self.wake()


class Backlog:
    """The values of a queue in order, with the operations that wait; a bound of 0 or less is none.

    Values wait only where nobody waits for values, and enqueues wait only where there is no room.
    """

    def __init__(self, maxsize: int, name: str) -> None:
        self.maxsize = maxsize
        self.name = name
        self.values: deque[Any] = deque()
        self.closed = False
        """No more values are taken; those that were on their way before it are."""
        self._enqueues: deque[Attempt] = deque()
        self._dequeues: deque[Attempt] = deque()
        self._closing: Attempt | None = None

    def enqueue(self, value: Any) -> Attempt:
        """Append `value`; waits for room. CancelledError: the queue is closed, or closed with cancelling meanwhile."""
        attempt = Attempt(value)
        if self.closed:
            attempt.settle(CancelledError(None, None, f"Queue '{self.name}' is closed."))
        elif self._dequeues:
            self._hand(value)
            attempt.settle()
        elif self._has_room():
            self.values.append(value)
            attempt.settle()
        else:
            self._enqueues.append(attempt)
        return attempt

    def dequeue(self) -> Attempt:
        """Take the oldest value; waits for one. OutOfRangeError: the queue is closed and empty."""
        attempt = Attempt()
        if self.values:
            attempt.value = self.values.popleft()
            attempt.settle()
            self._let_in()
        elif self.closed:
            attempt.settle(self._insufficient())
        else:
            self._dequeues.append(attempt)
        return attempt

    def close(self, cancel: bool) -> Attempt:
        """Take no more values; settled when the enqueues that wait have been let in, or at once with `cancel`.

        CancelledError: it was closed already, and nothing is to be cancelled; or a later close cancelled what this one
        waits for.
        """
        attempt = Attempt()
        if self.closed and not cancel:
            attempt.settle(CancelledError(None, None, f"Queue '{self.name}' is already closed."))
            return attempt
        self.closed = True
        if cancel:
            for waiting in self._enqueues:
                waiting.settle(self._cancelled("Enqueue"))
            self._enqueues.clear()
            if self._closing is not None:
                self._closing.settle(self._cancelled("Close"))
                self._closing = None
        if self._enqueues:
            self._closing = attempt
        else:
            self._end(attempt)
        return attempt

    def withdraw(self, attempt: Attempt) -> None:
        """Nobody waits for this one any more."""
        for waiting in (self._enqueues, self._dequeues):
            if attempt in waiting:
                waiting.remove(attempt)
        self._let_in()

    def give_back(self, value: Any) -> None:
        """What was taken last is the oldest value again: its taker was interrupted before it had it."""
        if self._dequeues:
            self._hand(value)
        else:
            self.values.appendleft(value)

    def _has_room(self) -> bool:
        return self.maxsize <= 0 or len(self.values) < self.maxsize

    def _hand(self, value: Any) -> None:
        receiver = self._dequeues.popleft()
        receiver.value = value
        receiver.settle()

    def _let_in(self) -> None:
        while self._enqueues and self._has_room():
            attempt = self._enqueues.popleft()
            self.values.append(attempt.value)
            attempt.settle()
        if self._closing is not None and not self._enqueues:
            self._end(self._closing)
            self._closing = None

    def _end(self, close: Attempt) -> None:
        while self._dequeues:
            self._dequeues.popleft().settle(self._insufficient())
        close.settle()

    def _insufficient(self) -> OpError:
        said = f"Queue '{self.name}' is closed and has insufficient elements (requested 1, current size 0)"
        return OutOfRangeError(None, None, said)

    def _cancelled(self, operation: str) -> OpError:
        said = f"{operation} operation was cancelled: queue '{self.name}' was closed with cancel_pending_enqueues."
        return CancelledError(None, None, said)
