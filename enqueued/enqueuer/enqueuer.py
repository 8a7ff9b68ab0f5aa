"""What the enqueuers have in common."""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from enqueued.enqueuer.runners import Ended, Runner, Setup


class SequenceEnqueuer(ABC):
    """Makes the batches of `sequence` ahead, in threads or processes of this program.

    ::

        enqueuer = OrderedEnqueuer(sequence, use_multiprocessing=True)
        enqueuer.start(workers=4, max_queue_size=10)
        for batch in enqueuer.get():
            ...  # train; stop sometime
        enqueuer.stop()

    An enqueuer is also a context manager that stops it. Batches that several programs share, that outlive this one, or
    that come from another host, are what the daemon and `Client` are for.
    """

    def __init__(self, sequence: Any, use_multiprocessing: bool = False) -> None:
        self.sequence = sequence
        self.use_multiprocessing = use_multiprocessing
        self.workers = 0
        self._starting = threading.Lock()
        self._runner: Runner | None = None
        self._forgotten: weakref.finalize[..., Any] | None = None

    def is_running(self) -> bool:
        """Whether it was started, and neither stopped since nor ended by an error or by the end of its input."""
        runner = self._runner
        return runner is not None and runner.running

    def start(self, workers: int = 1, max_queue_size: int = 10) -> None:
        """Begin to make batches; returns at once.

        `workers` threads or processes make them; 0: they are made in the caller's thread, when `get` is asked for one.
        At most ``max_queue_size + 1`` batches are made and not taken; 0 or less: their number has no bound, and their
        memory the usual one. After `stop` it may be called again.

        Raises RuntimeError when it is running, ValueError for a negative number of workers. What the user's code
        raises, also in `__len__` and `on_epoch_end`, comes out of `get`.
        """
        with self._starting:
            if self.is_running():
                raise RuntimeError(f"this {type(self).__name__} is running; stop() it before it is started again")
            if self._runner is not None:
                self._runner.stop(None)
            if self._forgotten is not None:
                self._forgotten.detach()
            setup = self._set_up(workers, max_queue_size)
            self.workers = setup.workers
            self._runner = runner = self._run(setup)
            # An enqueuer that is dropped without stop(), or never stopped before the program ends, ends its run.
            self._forgotten = weakref.finalize(self, runner.stop, 0)

    def stop(self, timeout: float | None = None) -> None:
        """End; who waits in `get` comes to its end. Can be repeated, and called before `start` and from any thread.

        Waits up to `timeout` seconds, without limit if None, until no worker is left: batches that are being made are
        finished first by threads.
        """
        runner, forgotten = self._runner, self._forgotten
        if runner is not None:
            runner.stop(timeout)
        if forgotten is not None and runner is self._runner:
            forgotten.detach()

    def close(self, timeout: float | None = None) -> None:
        """The same as `stop`."""
        self.stop(timeout)

    def join_end_of_epoch(self, timeout: float = 30) -> None:
        """Wait up to `timeout` seconds for the end of an epoch since the last call: its `on_epoch_end` has run."""
        runner = self._runner
        if runner is not None:
            runner.join_end_of_epoch(timeout)

    def get(self) -> Iterator[Any]:
        """The batches, one after the other, without those that are None; ends when it is not running.

        What the user's code raised is raised at its place in the order, and is the last thing to come.
        """
        while (runner := self._runner) is not None:
            try:
                batch = runner.take()
            except Ended:
                return
            except StopIteration as error:  # in a generator it would read as the end
                raise RuntimeError(f"the {type(self.sequence).__name__} raised StopIteration") from error
            if batch is not None:
                yield batch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _set_up(self, workers: int, max_queue_size: int) -> Setup:
        return Setup.of(workers, max_queue_size)

    @abstractmethod
    def _run(self, setup: Setup) -> Runner:
        """Begin to make batches."""
