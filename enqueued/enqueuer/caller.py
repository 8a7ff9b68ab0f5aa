"""Batches made in the caller's own thread, when it asks for one: `workers=0`."""

from __future__ import annotations

import threading
from typing import Any

from enqueued.enqueuer.courses import Course, Drained, OrderedCourse, Resumable, StreamedCourse
from enqueued.enqueuer.runners import Ended, Setup


def ordered(sequence: Any, setup: Setup) -> CallerRunner:
    """A sequence without workers."""
    return CallerRunner(OrderedCourse(sequence, setup))


def streamed(resumable: Resumable, setup: Setup) -> CallerRunner:
    """An iterator without workers."""
    return CallerRunner(StreamedCourse(resumable, setup))


class CallerRunner:
    """See `Runner`; nothing is made ahead, and nothing runs but within `take` and `join_end_of_epoch`."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._taking = threading.Lock()
        self._ended = False
        self._over = False
        self._error: BaseException | None = None

    @property
    def running(self) -> bool:
        return not self._over

    def take(self) -> Any:
        with self._taking:
            if self._over:
                raise Ended
            try:
                self._turn()
                (key,) = self._course.claim(1)
                batch = self._course.make(key)
            except Drained:
                self._over = True
                raise Ended from None
            except BaseException:
                self._over = True
                raise
            if self._over:  # stopped meanwhile
                self._course.give_back([batch])
                raise Ended
            return batch

    def stop(self, timeout: float | None) -> None:
        self._over = True

    def join_end_of_epoch(self, timeout: float) -> None:
        """The end of the epoch is brought about here, if its last batch is taken: there is nobody to wait for."""
        with self._taking:
            if not self._over and self._error is None and self._course.exhausted:
                try:
                    self._turn()
                except BaseException as error:
                    self._error = error

    def _turn(self) -> None:
        if self._error is not None:
            raise self._error
        if self._course.exhausted:
            self._course.turn()
