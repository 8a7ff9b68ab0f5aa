"""Batches made by threads of this process, for sources that wait or release the interpreter lock.

Numbers are claimed in order, whoever is free makes the next, and the consumer takes by number. Counts and tables are
read without a lock: each side says what it waits for (`_wanted`, `_room_at`), looks once more, and only then waits for
its bell. So a stop waits for no lock, not even in a signal handler or in a finalizer, and a consumer that is
interrupted leaves nothing undone that the next call would wait for.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import Any

from enqueued.enqueuer.courses import Course, Drained, Failure, OrderedCourse, Resumable, StreamedCourse
from enqueued.enqueuer.epochs import EpochEnds
from enqueued.enqueuer.runners import Ended, Setup, with_cause
from enqueued.enqueuer.weight import Weight

log = logging.getLogger(__name__)

_NEVER = sys.maxsize
_MISSING = object()
_NOTHING = object()
_REMARK_S = 10.0


def ordered(sequence: Any, setup: Setup) -> ThreadRunner:
    """A runner of threads over a sequence."""
    return ThreadRunner(OrderedCourse(sequence, setup), setup)


def streamed(resumable: Resumable, setup: Setup) -> ThreadRunner:
    """A runner of threads that share an iterator."""
    return ThreadRunner(StreamedCourse(resumable, setup), setup)


class ThreadRunner:
    """See `Runner`; batches come in the order in which they were claimed, whichever thread is done first."""

    def __init__(self, course: Course, setup: Setup) -> None:
        self._course = course
        self._look_ahead = setup.look_ahead
        self._weight = Weight() if setup.look_ahead is None else None
        self._orders: deque[tuple[int, Any]] = deque()
        self._made: dict[int, Any] = {}
        self._claimed = 0
        self._taken = 0
        self._last_of_epochs: deque[int] = deque()
        self._epoch_ends = EpochEnds()
        self._closing = False
        """Nothing more is claimed."""
        self._drained = False
        """The same, and each number that was claimed has an outcome or a thread that makes it."""
        self._over = False
        self._wanted = -1
        self._news: SimpleQueue[None] = SimpleQueue()
        self._room_at = _NEVER
        self._room: SimpleQueue[None] = SimpleQueue()
        self._claiming = threading.Lock()  # held by the one thread that claims, also while it waits for room
        self._taking = threading.RLock()
        self._process = os.getpid()
        self._threads: list[threading.Thread] = []
        try:
            for number in range(setup.workers):
                thread = threading.Thread(target=self._work, name=f"enqueued-worker-{number}", daemon=True)
                thread.start()
                self._threads.append(thread)
        except BaseException:
            self.stop(0)
            raise

    @property
    def running(self) -> bool:
        return not self._over

    def take(self) -> Any:
        with self._taking:
            while True:
                number = self._taken
                outcome = self._made.get(number, _MISSING)
                if outcome is _MISSING or self._over:
                    self._await(number)
                    continue
                self._taken = number + 1  # first, so that a call that is interrupted here does not stop the next
                self._made.pop(number, None)
                if self._last_of_epochs and number >= self._last_of_epochs[0]:
                    self._last_of_epochs.popleft()
                    self._epoch_ends.add()
                if self._weight is not None:
                    self._weight.remove(number)
                if number >= self._room_at:
                    self._ring_for_room()
                if type(outcome) is Failure:
                    self._end()
                    raise with_cause(outcome.error)
                if outcome is not _NOTHING:
                    return outcome

    def stop(self, timeout: float | None) -> None:
        self._end()
        if threading.current_thread() in self._threads:  # the user's own on_epoch_end or __getitem__ stops its run
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            _join(thread, deadline)
        if not any(thread.is_alive() for thread in self._threads):
            with self._taking:
                left = [self._made[number] for number in sorted(self._made) if number >= self._taken]
                self._made.clear()
            self._course.give_back(outcome for outcome in left if outcome is not _NOTHING)

    def join_end_of_epoch(self, timeout: float) -> None:
        self._epoch_ends.wait(timeout)

    def _await(self, number: int) -> None:
        """Until there may be an outcome for this number."""
        if self._drained and number >= self._claimed:
            self._end()
        if self._over:
            raise Ended
        if os.getpid() != self._process:
            raise RuntimeError("an enqueuer's threads do not live on in a forked process; start() one in the child")
        if number > self._room_at:  # an interrupted call took a batch and did not ring
            self._ring_for_room()
        if self._wanted == number:
            self._news.get()
        self._wanted = number  # from now on its maker rings; the caller looks once more before it waits

    def _ring_for_room(self) -> None:
        self._room_at = _NEVER
        self._room.put(None)

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._orders.clear()
        self._news.put(None)
        self._room.put(None)
        self._epoch_ends.close()

    def _work(self) -> None:
        orders, made, make = self._orders, self._made, self._course.make
        while not self._over:
            try:
                number, key = orders.popleft()
            except IndexError:
                if self._claim():
                    continue
                return
            try:
                outcome = make(key)
                if self._weight is not None:
                    self._weight.add(number, outcome)
            except Drained:
                outcome = _NOTHING
                self._drain()
            except BaseException as error:  # whatever it is, the consumer has to know
                outcome = Failure(error)
                self._closing = True
                orders.clear()  # what comes after it is not wanted
            made[number] = outcome
            if number == self._wanted:
                self._news.put(None)

    def _claim(self) -> bool:
        """Order as many batches as there is room for; waits for room. False: there is nothing more to make."""
        with self._claiming:
            looked = False
            while not self._orders:
                if self._over or self._closing:
                    return False
                free_at = self._free_at()
                if self._taken <= free_at:
                    if looked:
                        self._room.get()
                    else:
                        self._room_at = free_at
                    looked = not looked
                elif self._course.exhausted:
                    self._turn()
                else:
                    self._order()
        return True

    def _free_at(self) -> int:
        """When this number is taken, the claiming thread can go on; below what is taken if it can now."""
        if self._course.exhausted:
            return self._claimed - 1 if self._course.pauses else -1
        if self._weight is None:
            assert self._look_ahead is not None
            return self._claimed - self._look_ahead
        return self._taken if self._weight.is_full and self._claimed > self._taken else -1

    def _turn(self) -> None:
        try:
            ended = self._course.turn()
        except BaseException as error:
            number = self._claimed
            self._made[number] = Failure(error)
            self._claimed += 1
            self._closing = True
            self._news.put(None)
        else:
            if ended and self._course.pauses:
                self._epoch_ends.add()

    def _order(self) -> None:
        room = 1 if self._look_ahead is None else self._taken + self._look_ahead - self._claimed
        keys = self._course.claim(room)
        self._orders.extend(enumerate(keys, self._claimed))
        self._claimed += len(keys)
        if self._course.exhausted and not self._course.pauses:
            self._last_of_epochs.append(self._claimed - 1)

    def _drain(self) -> None:
        """The input is at its end: what is ordered and not begun comes to nothing."""
        self._closing = True
        self._room.put(None)  # for who claims and waits for room
        with self._claiming:
            while self._orders:
                try:
                    number, _ = self._orders.popleft()
                except IndexError:  # another thread has taken it
                    break
                self._made[number] = _NOTHING
            self._drained = True
        self._news.put(None)


def _join(thread: threading.Thread, deadline: float | None) -> None:
    if deadline is not None:
        thread.join(max(0.0, deadline - time.monotonic()))
        return
    began = time.monotonic()
    while thread.is_alive():
        thread.join(_REMARK_S)
        if thread.is_alive():
            log.warning(
                "stop() has waited %.0f s for %s, which is still in the user's code; stop(timeout) would not",
                time.monotonic() - began,
                thread.name,
            )
