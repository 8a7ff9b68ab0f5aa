"""Batches made by processes of this program: the pool of the daemon, without the daemon."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, NoReturn

from enqueued.arena.segment import SMALL
from enqueued.codec.decode import decode
from enqueued.enqueuer import epochs
from enqueued.enqueuer.cargo import Cargo
from enqueued.enqueuer.engine import Engine, Errand, Failed, Ready
from enqueued.enqueuer.runners import Ended, Setup, WorkerTraceback, with_cause
from enqueued.errors import RemoteError
from enqueued.pool.channel import Message
from enqueued.pool.options import PoolOptions
from enqueued.pool.parcel import is_parcel, unpack
from enqueued.pool.sent import unpack_exception
from enqueued.source.spec import SourceSpec

_NO_BOUND = 1 << 20
_HELD = 4
"""The consumer may hold this fraction of the budget as views; beyond that it is given copies."""
_runners: weakref.WeakSet[ProcessRunner] = weakref.WeakSet()


def ordered(sequence: Any, setup: Setup) -> ProcessRunner:
    """A runner of processes over a sequence."""
    return ProcessRunner(sequence, setup, setup.seed, indexed=True)


def streamed(iterator: Any, setup: Setup, random_seed: int | None) -> ProcessRunner:
    """A runner of processes that have a copy of the iterator each."""
    return ProcessRunner(iterator, setup, setup.seed if random_seed is None else random_seed, indexed=False)


class ProcessRunner:
    """See `Runner`. Large batches are views of shared memory, which is used again when the last array is gone.

    The user's object is packed before this returns, so that it may change afterwards; its pool is made meanwhile.
    """

    def __init__(self, user: Any, setup: Setup, seed: int, *, indexed: bool) -> None:
        self._pid = os.getpid()
        self._over = False
        self._taking = threading.RLock()
        self._given_bytes = 0
        """What the consumer was given as views."""
        self._most_bytes = 0
        self._copied = False
        """Whether the batch that was read last is a copy, so that its slot is free."""
        self._viewed: Ready | None = None
        """What a view was made of last; if that was interrupted it is copied, for its slot is let go of only once."""
        self._cargo: Cargo | None = None
        self._engine: Engine | None = None
        self._failure: BaseException | None = None
        """Why nothing can be made at all."""
        kind = type(user)
        workers = setup.workers
        spec = SourceSpec(
            "sequence" if indexed else "generator",
            f"{kind.__module__}:{kind.__qualname__}",
            seed=seed,
            replicas=1 if indexed else workers,
        )
        try:
            if indexed:
                epochs.begin(user)
            first = epochs.length(user) if indexed else None
            self._cargo = cargo = Cargo(user, spec, setup.order_seed)
        except BaseException as error:
            self._failure = with_cause(error)
            return
        options = PoolOptions(
            workers=workers,
            max_queue_size=setup.look_ahead or _NO_BOUND,
            root=cargo.root,
            start_method="zygote" if cargo.forks else "auto",
        )
        self._engine = engine = Engine(spec, options, user, first)
        engine.shuffles = setup.order_seed is not None
        engine.pack = self._fork_anew if cargo.forks else cargo.pack
        engine.hooked = indexed and epochs.has_hook(user)
        _runners.add(self)
        self._most_bytes = engine.memory.limit // _HELD
        engine.on_end = cargo.close
        engine.start()

    @property
    def running(self) -> bool:
        return not self._over

    def take(self) -> Any:
        engine = self._engine
        if engine is None:
            self._raise_failure()
        if os.getpid() != self._pid:
            if self._over:
                raise Ended
            raise RuntimeError("an enqueuer's processes are the parent's in a forked process; start() one there")
        with self._taking:
            while not self._over:
                item = self._first(engine)
                if type(item) is Ready:
                    batch = self._read(engine, item)  # what interrupts it leaves the item where it is
                    engine.items.popleft()
                    if self._copied:
                        engine.released.append(item.lease)
                    engine.took()
                    if item.last:
                        engine.ends.add()
                    return batch
                if type(item) is Errand:
                    engine.items.popleft()
                    item.do()
                elif type(item) is Failed:
                    error = _error(item.error)
                    self._end()
                    raise error
                else:
                    self._end()
            raise Ended

    def _first(self, engine: Engine) -> Any:
        """What comes next; waits for it."""
        items = engine.items
        if not items:
            engine.waiting = True
            try:
                while not items:
                    engine.news.get()
            finally:
                engine.waiting = False
        return items[0]

    def _raise_failure(self) -> NoReturn:
        self._over = True
        failure, self._failure = self._failure, None
        raise Ended if failure is None else failure

    def _read(self, engine: Engine, item: Ready) -> Any:
        """The batch: where it lies, or a copy of a small one, and of one that is more than may be held."""
        segment, offset, nbytes, _ = item.slot
        try:
            full = self._given_bytes - engine.freed_bytes + nbytes > self._most_bytes
            self._copied = nbytes < SMALL or full or item is self._viewed
            if self._copied:
                root = engine.views.copy(segment, offset, nbytes)
            else:
                self._viewed = item
                root = engine.views.view(item, segment, offset, nbytes)
                self._given_bytes += nbytes
        except KeyError:
            if self._over:  # it was stopped just now
                raise Ended from None
            raise
        return unpack(root) if is_parcel(root) else decode(root)

    # -- the end ------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Nothing is given any more, to nobody who waits."""
        self._over = True
        if self._engine is not None:
            self._engine.hand_over(None)
            self._engine.stop()
            self._engine.ends.close()

    def stop(self, timeout: float | None) -> None:
        self._end()
        engine = self._engine
        if os.getpid() != self._pid:
            return
        if engine is not None and engine.join(timeout):
            engine.dispose()

    def join_end_of_epoch(self, timeout: float) -> None:
        if self._engine is not None:
            self._engine.ends.wait(timeout)

    # -- forks --------------------------------------------------------------------------------------------------

    def _fork_anew(self) -> None:
        """Called by the engine when the sequence has changed: the consumer forks it."""
        assert self._engine is not None
        self._engine.hand_over(Errand(self._fork_here))

    def _fork_here(self) -> None:
        assert self._engine is not None
        assert self._cargo is not None
        try:
            self._cargo.fork()
        except BaseException as error:
            self._engine.planted(error)
        else:
            self._engine.planted(None)

    def keep(self) -> None:
        """Before a fork: make the views' pages this process's own, for the child shares the arrays."""
        if self._engine is not None:
            self._engine.views.keep()

    def abandon(self) -> None:
        """In a forked child: give up what is the parent's."""
        if self._engine is not None:
            self._engine.abandon()


def _error(told: Message) -> BaseException:
    """What a failure is raised as."""
    error = told.get("exception")
    if isinstance(error, BaseException):  # of this process
        return with_cause(error)
    text = told.get("traceback", "")
    try:
        error = unpack_exception(told["raised"])
    except Exception:  # there is none, or it cannot be made here, for a reason of the user's own
        error = RemoteError(told["message"], text)
    if text:
        error.__cause__ = WorkerTraceback(text)
    return error


def _before_fork() -> None:
    for one in list(_runners):
        one.keep()


def _after_fork() -> None:
    for one in list(_runners):
        one.abandon()
    _runners.clear()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
