"""A thread that calls a function again and again until its coordinator stops."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from enqueued.enqueuer.coordinator import Coordinator


class LooperThread(threading.Thread):
    """A daemon thread that runs `target`, or an overridden `run_loop`, until `coord` is asked to stop.

    With `timer_interval_secs` None the calls follow each other; else the first is made at once and the others so many
    seconds after the call before them was due: a late one is made up for. What a call raises is reported to `coord`,
    with which the thread registers itself.

    Raises ValueError: `coord` is no Coordinator, or there are `args` or `kwargs` without a `target`.
    Arguments and semantics: TensorFlow 1.15, coordinator.py; other than there, `stop_loop` is called after an error,
    too.
    """

    def __init__(
        self,
        coord: Coordinator,
        timer_interval_secs: float | None,
        target: Callable[..., object] | None = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(coord, Coordinator):
            raise ValueError(f"'coord' argument must be a Coordinator: {coord!r}")
        if target is None and (args or kwargs):
            raise ValueError("'args' and 'kwargs' argument require that you also pass 'target'")
        super().__init__(daemon=True)
        self._coord = coord
        self._timer_interval_secs = timer_interval_secs
        self._calls = target
        self._with: tuple[tuple[Any, ...], dict[str, Any]] = (tuple(args or ()), dict(kwargs or {}))
        coord.register_thread(self)

    @staticmethod
    def loop(
        coord: Coordinator,
        timer_interval_secs: float | None,
        target: Callable[..., object] | None = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> LooperThread:
        """Make one and start it."""
        looper = LooperThread(coord, timer_interval_secs, target, args, kwargs)
        looper.start()
        return looper

    def start_loop(self) -> None:
        """Called once, in the thread, before the first `run_loop`; for subclasses."""

    def run_loop(self) -> None:
        """Called again and again: `target` with its arguments."""
        if self._calls is not None:
            args, kwargs = self._with
            self._calls(*args, **kwargs)

    def stop_loop(self) -> None:
        """Called once, in the thread, at its end, whatever happened before; for subclasses."""

    def run(self) -> None:
        # an exit is reported as well, and nobody is above a thread to whom it could go on
        exits = contextlib.suppress(KeyboardInterrupt, SystemExit, GeneratorExit)
        try:
            with exits, self._coord.stop_on_exception():
                self.start_loop()
                self._repeat()
        finally:
            with exits, self._coord.stop_on_exception():
                self.stop_loop()

    def _repeat(self) -> None:
        if self._timer_interval_secs is None:
            while not self._coord.should_stop():
                self.run_loop()
            return
        due = self._now()
        while not self._coord.wait_for_stop(due - self._now()):
            due += self._timer_interval_secs
            self.run_loop()

    def _now(self) -> float:
        return time.monotonic()
