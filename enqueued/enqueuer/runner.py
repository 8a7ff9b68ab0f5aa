"""Threads that fill a queue, and close it when the input ends."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Iterable
from typing import Any

from enqueued.enqueuer.coordinator import Coordinator
from enqueued.enqueuer.definition import QueueRunnerDef
from enqueued.enqueuer.operation import Operation, bound, check, name_of, operation
from enqueued.enqueuer.shipping import CANCEL, CLOSE, Parts, Resolver, codes, in_scope, resolve, stripped
from enqueued.errors import OutOfRangeError

logger = logging.getLogger(__name__)

ExceptionTypes = tuple[type[BaseException], ...]


class _Run:
    """The threads of one call of `create_threads`."""

    def __init__(self, sess: Any, coord: Coordinator | None, count: int) -> None:
        self.sess = sess
        self.coord = coord
        self.left = count
        self.ended = False

    def should_stop(self) -> bool:
        return self.coord is not None and self.coord.should_stop()

    def end(self) -> None:
        self.ended = True
        if self.coord is not None:
            self.coord.nudge()


class QueueRunner:
    """Runs each of `enqueue_ops` again and again in a thread of its own, and closes `queue` when the input ends.

    `queue` is a `Queue`, or anything with `name` and `close(cancel_pending_enqueues=False)`. The operations are
    functions without arguments, or "module:attribute", which names one; with a session, whatever that runs. An
    operation ends its thread by raising one of `queue_closed_exception_types` (None: OutOfRangeError), as
    `Queue.dequeue` does at the end; the last thread to end closes the queue by `close_op` (None: `queue.close()`). When
    a coordinator stops, `cancel_op` (None: `queue.close(cancel_pending_enqueues=True)`) frees who is blocked. Instead
    of all that, `queue_runner_def` names the parts, within `import_scope`; see `from_proto`.

    ::

        reader = QueueRunner(names, [lambda: names.enqueue(next(paths))], queue_closed_exception_types=(StopIteration,))
        reader.create_threads(coord=coord, start=True)

    Raises ValueError: no queue or no operations are given, or a definition and parts; TypeError: a part is not of its
    kind; LoadError: what a text names cannot be imported; ProtocolError: a definition has unknown codes.

    Arguments and semantics: TensorFlow 1.15, queue_runner_impl.py. Other than there, `coord.join` returns when the
    inputs end, and a queue whose last thread fails is closed, too. Operations run in this process and share its lock:
    for Python code that takes long, use an enqueuer with processes, or the daemon.
    """

    def __init__(
        self,
        queue: Any = None,
        enqueue_ops: Iterable[Any] | None = None,
        close_op: Any = None,
        cancel_op: Any = None,
        queue_closed_exception_types: ExceptionTypes | None = None,
        queue_runner_def: QueueRunnerDef | None = None,
        import_scope: str | None = None,
    ) -> None:
        if queue_runner_def is None:
            ops = [operation(op) for op in enqueue_ops or ()]
            parts = Parts("", queue, ops, operation(close_op), operation(cancel_op), queue_closed_exception_types)
        elif queue is not None or enqueue_ops is not None:
            raise ValueError("queue_runner_def and queue are mutually exclusive.")
        elif (close_op, cancel_op, queue_closed_exception_types) != (None, None, None):
            raise ValueError("queue_runner_def and the other arguments are mutually exclusive.")
        else:
            parts = resolve(queue_runner_def, import_scope, None)
        self._begin(parts)

    def _begin(self, parts: Parts) -> None:
        queue = parts.queue
        if queue is None or not parts.enqueue_ops:
            raise ValueError("Must provide queue and enqueue_ops.")
        if not isinstance(getattr(queue, "name", None), str) or not callable(getattr(queue, "close", None)):
            raise TypeError(
                f"queue must have a name and close(cancel_pending_enqueues=False), as Queue has, not {queue!r}"
            )
        self._queue = queue
        self._queue_name = parts.queue_name or queue.name
        self._enqueue_ops = parts.enqueue_ops
        self._close_op = parts.close_op
        if self._close_op is None:
            self._close_op = Operation(self._queue_name + CLOSE, queue.close)
        self._cancel_op = parts.cancel_op
        if self._cancel_op is None:
            cancel = functools.partial(queue.close, cancel_pending_enqueues=True)
            self._cancel_op = Operation(self._queue_name + CANCEL, cancel)
        self._queue_closed_exception_types = _exception_types(parts.types)
        self._lock = threading.Lock()
        self._runs: list[_Run] = []
        self._exceptions_raised: list[BaseException] = []

    @property
    def queue(self) -> Any:
        """The queue that is filled."""
        return self._queue

    @property
    def enqueue_ops(self) -> list[Any]:
        """The operations that fill it, each for a thread."""
        return self._enqueue_ops

    @property
    def close_op(self) -> Any:
        """What closes the queue at the end of the input."""
        return self._close_op

    @property
    def cancel_op(self) -> Any:
        """What closes the queue and cancels enqueues that wait, at a stop."""
        return self._cancel_op

    @property
    def queue_closed_exception_types(self) -> ExceptionTypes:
        """The exceptions by which an operation says that the input is at its end."""
        return self._queue_closed_exception_types

    @property
    def exceptions_raised(self) -> list[BaseException]:
        """What operations raised without a coordinator to report it to, since threads were last made."""
        return self._exceptions_raised

    @property
    def name(self) -> str:
        """The name of the queue."""
        return str(self._queue.name)

    def create_threads(
        self, sess: Any = None, coord: Coordinator | None = None, daemon: bool = False, start: bool = False
    ) -> list[threading.Thread]:
        """Make a thread for each operation, and with `coord` one more, last, that cancels when it stops.

        With `sess` None operations are called, else run by its `make_callable(op)` or `run(op)`. The threads are
        registered with `coord`, which hears of errors; without one they are logged and kept in `exceptions_raised`.
        While threads that were made for the same session have not ended (those that never began have not), returns an
        empty list.

        Raises TypeError: the session cannot run the operations, or `coord` is no Coordinator.
        """
        if coord is not None and not isinstance(coord, Coordinator):
            raise TypeError(f"coord must be an enqueued.Coordinator, not {coord!r}")
        check(sess, [*self._enqueue_ops, self._close_op, self._cancel_op])
        with self._lock:
            if any(run.sess is sess for run in self._runs):
                return []
            run = _Run(sess, coord, len(self._enqueue_ops))
            self._runs.append(run)
            self._exceptions_raised = []
        threads = [self._thread(name_of(op), daemon, self._enqueue, run, op) for op in self._enqueue_ops]
        if coord is not None:
            threads.append(self._thread("close_on_stop", daemon, self._close_on_stop, run, coord))
        for thread in threads:
            if coord is not None:
                coord.register_thread(thread)
            if start:
                thread.start()
        return threads

    def to_proto(self, export_scope: str | None = None) -> QueueRunnerDef | None:
        """The names of its parts, without `export_scope`; None when the queue is not in that scope.

        Raises ValueError: one of the `queue_closed_exception_types` has no code.
        """
        if not in_scope(self._queue_name, export_scope):
            return None
        return QueueRunnerDef(
            queue_name=stripped(self._queue_name, export_scope),
            enqueue_op_name=[stripped(name_of(op), export_scope) for op in self._enqueue_ops],
            close_op_name=stripped(name_of(self._close_op), export_scope),
            cancel_op_name=stripped(name_of(self._cancel_op), export_scope),
            queue_closed_exception_types=codes(self._queue_closed_exception_types),
        )

    @staticmethod
    def from_proto(
        queue_runner_def: QueueRunnerDef, import_scope: str | None = None, resolver: Resolver | None = None
    ) -> QueueRunner:
        """The QueueRunner whose parts a definition names, each with `import_scope` before its name.

        `resolver` gives the object of a name, such as a dictionary's `get`; names that it does not know (None or
        LookupError) are imported if they are "module:attribute". So a definition whose queue and operations are named
        like that runs in any process that has the modules. Importing runs code: take definitions only from whom you
        trust.

        Raises TypeError: that is no definition; LoadError: nobody knows a name; ProtocolError: it has unknown codes;
        ValueError: it names no operations.
        """
        runner = QueueRunner.__new__(QueueRunner)
        runner._begin(resolve(queue_runner_def, import_scope, resolver))
        return runner

    def _thread(self, name: str, daemon: bool, target: Any, *args: Any) -> threading.Thread:
        return threading.Thread(target=target, args=args, name=f"QueueRunnerThread-{self.name}-{name}", daemon=daemon)

    def _enqueue(self, run: _Run, op: Any) -> None:
        """A thread's life: run `op` until its input ends, it fails, or the coordinator stops."""
        closes = True
        try:
            call = bound(run.sess, op)
            while not run.should_stop():
                call()
            closes = False  # the thread that waits for the stop cancels
        except self._queue_closed_exception_types:
            pass
        except BaseException as error:  # also sys.exit: nobody else would hear of it, and the queue would stay open
            self._report(run, error)
        with self._lock:
            run.left -= 1
            last = run.left == 0
        if not last:
            return
        try:
            if closes:
                self._quietly(run, self._close_op)
        finally:
            with self._lock:
                self._runs.remove(run)
            run.end()

    def _close_on_stop(self, run: _Run, coord: Coordinator) -> None:
        """Cancel when a stop is requested; until then wait, also for a close that waits itself."""
        if coord.wait_for_stop_or(lambda: run.ended):
            self._quietly(run, self._cancel_op)

    def _quietly(self, run: _Run, op: Any) -> None:
        try:
            bound(run.sess, op)()
        except Exception as error:
            logger.info("QueueRunner %s ignores an error of %s: %r", self.name, name_of(op), error)

    def _report(self, run: _Run, error: BaseException) -> None:
        if run.coord is None:
            logger.error("Exception in QueueRunner: %s", error, exc_info=error)
            with self._lock:
                self._exceptions_raised.append(error)
            return
        try:
            run.coord.request_stop(error)
        except BaseException:  # the coordinator was joined without this thread, and nobody is above it
            logger.exception("QueueRunner %s failed after its coordinator was joined", self.name)


def _exception_types(given: Any) -> ExceptionTypes:
    if given is None:
        return (OutOfRangeError,)
    if (
        not isinstance(given, tuple)
        or not given
        or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in given)
    ):
        raise TypeError(
            f"queue_closed_exception_types, when provided, must be a non-empty tuple of exception classes, "
            f"but saw: {given!r}"
        )
    return given
