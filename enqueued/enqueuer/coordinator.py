"""Ending a set of threads together, with the first error that any of them met."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType

from enqueued.errors import OutOfRangeError

logger = logging.getLogger(__name__)

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
Report = BaseException | ExcInfo | None
"""What `request_stop` takes: nothing, an exception, or what `sys.exc_info()` gives."""


class Coordinator:
    """Lets threads ask each other to stop, waits for them, and raises the first error that one of them reported.

    Errors of `clean_stop_exception_types` are a normal end and are not raised; None means OutOfRangeError, the end of a
    queue's input, and an empty tuple that every error is raised.

    ::

        coord = Coordinator()
        threads = [Thread(target=work, args=(coord,)) for _ in range(4)]   # each: while not coord.should_stop(): ...
        for thread in threads:
            thread.start()
        coord.join(threads)

    Arguments and semantics: TensorFlow 1.15, coordinator.py. Other than there, nothing is polled, a fresh exception can
    be reported outside its handler, and KeyboardInterrupt is not swallowed.
    """

    def __init__(self, clean_stop_exception_types: Iterable[type[BaseException]] | None = None) -> None:
        types = (OutOfRangeError,) if clean_stop_exception_types is None else clean_stop_exception_types
        self._clean_stop_exception_types = tuple(types)
        self._lock = threading.RLock()  # re-entrant: a signal's handler may request the stop
        self._changed = threading.Condition(self._lock)
        self._stopping = False
        self._stops = 0  # a stop that is cleared at once is still seen by all who waited for it
        self._joined = False
        self._error: BaseException | None = None
        self._registered_threads: set[threading.Thread] = set()

    @property
    def joined(self) -> bool:
        """Whether `join` has come to its end, also with an error."""
        return self._joined

    def should_stop(self) -> bool:
        """Whether a stop was requested."""
        return self._stopping

    def request_stop(self, ex: Report = None) -> None:
        """Ask all threads to stop; `ex` is why: an exception, or what `sys.exc_info()` gives.

        The first call decides what `join` raises; later ones, and clean types, are not kept. After `join`, which can no
        longer raise it, `ex` is raised here. Anything that is no exception is recorded as a ValueError.
        """
        error = _exception(ex)
        if isinstance(error, self._clean_stop_exception_types):
            error = None
        with self._changed:
            if self._joined and error is not None:
                raise error
            if self._stopping:
                return
            if error is not None:
                logger.info("Error reported to Coordinator: %s, %s", type(error).__name__, error)
            self._error = error
            self._stopping = True
            self._stops += 1
            self._changed.notify_all()

    def clear_stop(self) -> None:
        """Begin anew: no stop is requested, nothing was reported, and `joined` is False."""
        with self._lock:
            self._stopping = self._joined = False
            self._error = None

    def wait_for_stop(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds (None: without limit) for a stop; whether one is requested."""
        return self._wait(lambda: False, timeout)

    def wait_for_stop_or(self, ended: Callable[[], bool]) -> bool:
        """Wait for a stop or until `ended()`, which is asked again after each `nudge`; whether a stop is requested."""
        return self._wait(ended, None)

    def _wait(self, ended: Callable[[], bool], timeout: float | None) -> bool:
        with self._changed:
            before = self._stops

            def stopped() -> bool:
                return self._stopping or self._stops != before

            self._changed.wait_for(lambda: stopped() or ended(), timeout)
            return stopped()

    def nudge(self) -> None:
        """What somebody waits for in `wait_for_stop_or` may be true now."""
        with self._changed:
            self._changed.notify_all()

    def register_thread(self, thread: threading.Thread) -> None:
        """Have `join` wait for `thread` too; it need not be started yet."""
        with self._lock:
            self._registered_threads.add(thread)

    @contextlib.contextmanager
    def stop_on_exception(self) -> Iterator[None]:
        """Report an Exception of the block, and go on behind it.

        KeyboardInterrupt, SystemExit and other exceptions that are not errors are reported, too, but go on up;
        GeneratorExit, the normal end of a generator, only requests the stop.
        """
        try:
            yield
        except Exception:
            self.request_stop(sys.exc_info())
        except GeneratorExit:
            self.request_stop()
            raise
        except BaseException:
            self.request_stop(sys.exc_info())
            raise

    def join(
        self,
        threads: Iterable[threading.Thread] | None = None,
        stop_grace_period_secs: float = 120,
        ignore_live_threads: bool = False,
    ) -> None:
        """Wait for the registered threads and for `threads`, and raise what was reported, if anything was.

        Waits without limit until all of them are dead or a stop is requested; from then on for up to
        `stop_grace_period_secs` seconds. Threads that were not started are not waited for. Afterwards none is
        registered any more.

        Raises the exception that was given to `request_stop`; else RuntimeError when threads are still alive, unless
        `ignore_live_threads`; RuntimeError, at once, when one of them is the caller's own, which would wait for ever.
        """
        with self._lock:
            waited = self._registered_threads.union(threads or ())
        if threading.current_thread() in waited:
            raise RuntimeError(
                f"Coordinator.join() was called by {threading.current_thread().name}, which is one of the threads that "
                f"it waits for. Call it in another thread, or do not register this one."
            )
        watcher = _Watcher(waited, self.nudge)
        watcher.start()
        try:
            self.wait_for_stop_or(lambda: watcher.done)
        finally:
            watcher.dismissed = True
        stragglers = _stragglers(waited, stop_grace_period_secs)
        if not stragglers:
            watcher.join()
        with self._lock:
            self._joined = True
            self._registered_threads = set()
            error = self._error
        said = f"Coordinator stopped with threads still running: {' '.join(stragglers)}"
        if stragglers and (error is not None or ignore_live_threads):
            logger.warning(said)
        if error is not None:
            raise error
        if stragglers and not ignore_live_threads:
            raise RuntimeError(said)

    def raise_requested_exception(self) -> None:
        """Raise what was given to `request_stop`, if anything was."""
        with self._lock:
            error = self._error
        if error is not None:
            raise error


class _Watcher(threading.Thread):
    """Joins threads in another's stead, for nobody is told of a thread's death but who joins it."""

    def __init__(self, threads: set[threading.Thread], tell: Callable[[], None]) -> None:
        super().__init__(name="Coordinator-watch", daemon=True)
        self.threads = threads
        self.tell = tell
        self.dismissed = False
        self.done = False

    def run(self) -> None:
        while not self.dismissed and (alive := [thread for thread in self.threads if thread.is_alive()]):
            for thread in alive:
                thread.join()
        self.done = True
        self.tell()


def _stragglers(threads: set[threading.Thread], grace_s: float) -> list[str]:
    """The names of those that are alive after that many seconds."""
    deadline = time.monotonic() + grace_s
    for thread in threads:
        if thread.is_alive():
            thread.join(min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX))
    return sorted(str(thread.name) for thread in threads if thread.is_alive())


def _exception(report: object) -> BaseException | None:
    if report is None or isinstance(report, BaseException):
        return report
    if isinstance(report, tuple) and len(report) == 3 and isinstance(report[1], BaseException):
        return report[1].with_traceback(report[2] or report[1].__traceback__)
    return ValueError(f"request_stop was given {report!r}, which is neither an exception nor a sys.exc_info() of one.")
