"""Threads in which frames are compressed, beside the loop."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from enqueued.pool.reactor import Reactor

T = TypeVar("T")
_MOST_THREADS = 4


class Press:
    """Does work in a few threads, which there are from the first work on, and has the loop say when it is done.

    `users` is how many clients' frames are compressed now.
    """

    def __init__(self, reactor: Reactor) -> None:
        self.users = 0
        self._reactor = reactor
        self._threads = max(1, min(_MOST_THREADS, len(os.sched_getaffinity(0)) // 2))
        self._executor: ThreadPoolExecutor | None = None
        self._done: deque[Callable[[], None]] = deque()
        self._wake = -1

    @property
    def share(self) -> float:
        """How many threads one more client could count on."""
        return self._threads / (self.users + 1)

    def submit(self, work: Callable[[], T], on_done: Callable[[], None]) -> Future[T]:
        """Have work done; `on_done` is called in the loop's turn, also for what was cancelled."""
        if self._executor is None:
            self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._reactor.watch(self._wake, self._collect)
            self._executor = ThreadPoolExecutor(self._threads, "enqueued-press")
        future = self._executor.submit(work)
        future.add_done_callback(lambda _: self._tell(on_done))
        return future

    def _tell(self, on_done: Callable[[], None]) -> None:
        self._done.append(on_done)
        os.eventfd_write(self._wake, 1)

    def _collect(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        while self._done:
            self._done.popleft()()

    def close(self) -> None:
        """Do nothing more; what is being compressed is waited for, since its memory is read."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
            self._reactor.unwatch(self._wake)
            os.close(self._wake)
