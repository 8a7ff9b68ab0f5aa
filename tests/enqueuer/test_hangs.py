"""What stopped programs for ever in the classes that the enqueuers come from, and is an error here, within seconds."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import waiting
from enqueued import GeneratorEnqueuer, OrderedEnqueuer
from enqueuing import (
    Dying,
    Failing,
    Locked,
    NoEnd,
    NoLength,
    Numbered,
    Odd,
    SlowEnd,
    Stuck,
    TwoArguments,
    Unpicklable,
    count,
    numbers,
)
from gate import Gate

pytestmark = pytest.mark.timeout(30)
SOON_S = 10


def taken(sequence: Any, use_multiprocessing: bool, count: int = 100, workers: int = 2) -> list[int]:
    """Batches of an enqueuer that has to end by itself, by the error that is its last word."""
    enqueuer = OrderedEnqueuer(sequence, use_multiprocessing)
    try:
        enqueuer.start(workers)
        found: list[int] = []
        for each in enqueuer.get():
            found.append(int(each[0]))
            assert len(found) < count
        return found
    finally:
        assert not enqueuer.is_running()
        enqueuer.stop()


@pytest.mark.parametrize("workers", [0, 2])
def test_on_epoch_end_raises(use_multiprocessing: bool, workers: int) -> None:
    """After the last batch of the epoch comes what it raised."""
    enqueuer = OrderedEnqueuer(NoEnd(3), use_multiprocessing)
    enqueuer.start(workers)
    batches = enqueuer.get()
    assert [int(next(batches)[0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="cannot shuffle"):
        next(batches)
    assert not enqueuer.is_running()
    enqueuer.stop()


@pytest.mark.parametrize("workers", [0, 2])
def test_len_raises(use_multiprocessing: bool, workers: int) -> None:
    """At the start, or when it is read again after an epoch."""
    with pytest.raises(KeyError, match="no index file"):
        taken(NoLength(since=0), use_multiprocessing, workers=workers)
    enqueuer = OrderedEnqueuer(NoLength(since=1), use_multiprocessing)
    enqueuer.start(workers)
    batches = enqueuer.get()
    assert [int(next(batches)[0]) for _ in range(2)] == [0, 1]
    with pytest.raises(KeyError, match="no index file"):
        next(batches)
    enqueuer.stop()


@pytest.mark.parametrize(
    ("length", "kind", "text"),
    [
        (0, ValueError, r"\(Odd\) is 0"),
        (-1, ValueError, "is -1"),
        (None, ValueError, "endless"),
        (2.5, TypeError, "2.5"),
    ],
)
def test_len_is_nothing(use_multiprocessing: bool, length: Any, kind: type[Exception], text: str) -> None:
    """An epoch without a batch would go on for ever; what is no number is told, with its value."""
    with pytest.raises(kind, match=text):
        taken(Odd(length), use_multiprocessing)


def test_no_workers_is_the_callers_thread(use_multiprocessing: bool) -> None:
    """Nothing is started and nothing made ahead: `get` makes each batch itself."""
    sequence = Calling(4)
    enqueuer = OrderedEnqueuer(sequence, use_multiprocessing)
    before = threading.active_count()
    enqueuer.start(workers=0)
    assert enqueuer.is_running()
    batches = enqueuer.get()
    assert [int(next(batches)[0]) for _ in range(6)] == [0, 1, 2, 3, 0, 1]
    assert sequence.threads == [(os.getpid(), threading.get_ident())] * 6
    assert threading.active_count() == before
    enqueuer.stop()
    assert list(batches) == []
    generator = GeneratorEnqueuer(count(3), use_multiprocessing)
    generator.start(workers=0)
    assert numbers(generator) == [0, 1, 2]
    assert not generator.is_running()


class Calling(Numbered):
    """Notes who makes its batches."""

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.threads: list[tuple[int, int]] = []

    def __getitem__(self, index: int) -> Any:
        self.threads.append((os.getpid(), threading.get_ident()))
        return super().__getitem__(index)


def test_fewer_workers_than_none(use_multiprocessing: bool) -> None:
    """A mistake of the caller's, told by `start`; the enqueuer can be started rightly after it."""
    enqueuer = OrderedEnqueuer(Numbered(), use_multiprocessing)
    with pytest.raises(ValueError, match="workers is -1"):
        enqueuer.start(workers=-1)
    assert not enqueuer.is_running()
    enqueuer.start(workers=0)
    assert numbers(enqueuer, 2) == [0, 1]
    enqueuer.stop()


@pytest.mark.parametrize("how", ["killed", "left"])
def test_a_worker_is_gone(use_multiprocessing: bool, how: str) -> None:
    """Killed, or by `os._exit`, at a batch that kills each worker that tries it: told with the batch and the signal.

    Threads take the program with them, which is no hang.
    """
    if not use_multiprocessing:
        return
    with pytest.raises(Exception, match="SIGKILL|signal 9|killed" if how == "killed" else "exit"):
        taken(Dying(how), use_multiprocessing)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, BaseException])
@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_no_exception_is_raised(use_multiprocessing: bool, kind: type[BaseException], workers: int) -> None:
    """A worker that ended quietly by it would leave its batch for ever."""
    with pytest.raises(kind) as caught:
        taken(Failing(kind, "in the worker"), use_multiprocessing, workers=workers)
    assert type(caught.value) is kind


@pytest.mark.parametrize(("kind", "args"), [(TwoArguments, ("no file", 3)), (Unpicklable, ("no file at 3",))])
def test_an_exception_cannot_be_unpickled(use_multiprocessing: bool, kind: Any, args: tuple[Any, ...]) -> None:
    """It arrives all the same, with its text."""
    with pytest.raises(Exception, match="no file at 3"):
        taken(Failing(kind, *args), use_multiprocessing)


@pytest.fixture
def own_thread() -> Iterator[None]:
    """A thread of the program's own, so that the program must not be forked."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="the-programs-own")
    thread.start()
    yield
    end.set()
    thread.join()


@pytest.mark.usefixtures("own_thread")
def test_the_sequence_cannot_be_pickled(use_multiprocessing: bool) -> None:
    """Where it cannot be forked either, the error names what is in the way."""
    enqueuer = OrderedEnqueuer(Locked(), use_multiprocessing)
    enqueuer.start(2)
    if use_multiprocessing:
        with pytest.raises(Exception, match="guard"):
            numbers(enqueuer, 3)
    else:
        assert numbers(enqueuer, 3) == [0, 1, 2]
    enqueuer.stop()


def test_the_start_method_is_switched_between_two_runs(use_multiprocessing: bool) -> None:
    """What `multiprocessing` is told is its own affair."""
    before = multiprocessing.get_start_method(allow_none=True)
    try:
        for method in ("fork", "spawn", "forkserver"):
            multiprocessing.set_start_method(method, force=True)
            with OrderedEnqueuer(Numbered(), use_multiprocessing) as enqueuer:
                enqueuer.start(2)
                assert numbers(enqueuer, 6) == [0, 1, 2, 3, 4, 0]
    finally:
        multiprocessing.set_start_method(before, force=True)


def test_a_stop_while_a_consumer_waits(use_multiprocessing: bool, tmp_path: Path) -> None:
    """The consumer gets its end at once, whatever it waits for; threads end when the batch that they make is done."""
    with Gate(tmp_path / "gate") as gate:
        enqueuer = OrderedEnqueuer(Stuck(gate.path), use_multiprocessing)
        enqueuer.start(2)
        batches = enqueuer.get()
        assert [int(next(batches)[0]) for _ in range(2)] == [0, 1]
        with ThreadPoolExecutor(1) as pool:
            rest = pool.submit(list, batches)
            enqueuer.stop(timeout=0.01)
            assert rest.result(SOON_S) == []
        enqueuer.close(timeout=0.01)
        assert not enqueuer.is_running()
        gate.open()
        enqueuer.stop()


def test_a_stop_while_a_consumer_waits_for_the_epoch_to_end(use_multiprocessing: bool, tmp_path: Path) -> None:
    """The same while `on_epoch_end` runs, which nobody can interrupt."""
    with Gate(tmp_path / "gate") as gate:
        enqueuer = OrderedEnqueuer(SlowEnd(gate.path), use_multiprocessing)
        enqueuer.start(3)
        batches = enqueuer.get()
        with ThreadPoolExecutor(1) as pool:
            rest = pool.submit(list, batches)
            waiting.until((tmp_path / "gate.begun").exists, within=SOON_S)
            enqueuer.stop(timeout=0.01)
            assert len(rest.result(SOON_S)) == 5
        gate.open()
        enqueuer.stop()


def test_the_sequence_stops_its_own_run() -> None:
    """`on_epoch_end` that calls `stop`, in a worker thread: nobody waits for itself."""
    sequence = Stopping(2)
    enqueuer = sequence.enqueuer = OrderedEnqueuer(sequence)
    enqueuer.start(3)
    assert numbers(enqueuer) == [0, 1]
    enqueuer.stop()


class Stopping(Numbered):
    """One epoch is enough."""

    enqueuer: OrderedEnqueuer

    def on_epoch_end(self) -> None:
        self.enqueuer.stop()


@pytest.mark.usefixtures("own_thread")
def test_two_enqueuers_at_once_one_of_which_cannot_be_pickled(use_multiprocessing: bool) -> None:
    """Each has its own workers and its own errors: the other one goes on."""
    with (
        OrderedEnqueuer(Numbered(), use_multiprocessing) as good,
        OrderedEnqueuer(Locked(), use_multiprocessing) as odd,
    ):
        good.start(2)
        odd.start(2)
        assert numbers(good, 3) == [0, 1, 2]
        if use_multiprocessing:
            with pytest.raises(Exception, match="guard"):
                numbers(odd, 3)
        else:
            assert numbers(odd, 3) == [0, 1, 2]
        assert numbers(good, 7) == [3, 4, 0, 1, 2, 3, 4]


class Interrupted(BaseException):
    """What a signal's handler raises."""


@contextmanager
def poked(handler: Callable[..., None]) -> Iterator[None]:
    """Sends this thread a signal, which calls `handler`, when it waits in `get`."""

    def is_in_get() -> bool:
        stack = traceback.extract_stack(sys._current_frames()[threading.main_thread().ident or 0])
        return any(frame.name == "get" and frame.filename.endswith("enqueuer.py") for frame in stack)

    def poke() -> None:
        waiting.until(is_in_get, within=SOON_S)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: handler())
    thread = threading.Thread(target=poke)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupted_consumer_can_go_on(use_multiprocessing: bool, tmp_path: Path) -> None:
    """Ctrl-C in a notebook, and then the cell again: no batch is missing."""

    def interrupt() -> None:
        raise Interrupted

    with Gate(tmp_path / "gate") as gate:
        enqueuer = OrderedEnqueuer(Stuck(gate.path), use_multiprocessing)
        enqueuer.start(2)
        assert numbers(enqueuer, 2) == [0, 1]
        with poked(interrupt), pytest.raises(Interrupted):
            numbers(enqueuer, 1)
        gate.open()
        assert numbers(enqueuer, 4) == [2, 3, 4, 0]
        enqueuer.stop()


def test_a_signal_handler_may_stop(use_multiprocessing: bool, tmp_path: Path) -> None:
    """While the very thread waits in `get`."""
    with Gate(tmp_path / "gate") as gate:
        enqueuer = OrderedEnqueuer(Stuck(gate.path), use_multiprocessing)
        enqueuer.start(2)
        assert numbers(enqueuer, 2) == [0, 1]
        with poked(lambda: enqueuer.stop(timeout=0.01)):
            assert numbers(enqueuer) == []
        gate.open()
        enqueuer.stop()


def test_a_forked_child_is_told_that_its_workers_are_elsewhere() -> None:
    """Threads do not live on in a child, which would wait for them for ever."""
    enqueuer = OrderedEnqueuer(Numbered())
    enqueuer.start(2, max_queue_size=2)
    waiting.until(lambda: len(enqueuer._runner._made) == 3)  # type: ignore[union-attr] # only threads have it
    child = os.fork()
    if child == 0:
        try:
            numbers(enqueuer)
        except RuntimeError as error:
            os._exit(7 if "forked" in str(error) else 8)
        os._exit(9)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    enqueuer.stop()
