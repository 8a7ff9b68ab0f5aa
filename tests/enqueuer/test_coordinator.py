"""Threads that end together."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import waiting
from enqueued.enqueuer.coordinator import Coordinator
from enqueued.errors import CancelledError, OutOfRangeError

pytestmark = pytest.mark.timeout(30)
SOON_S = 10
Start = Callable[..., threading.Thread]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts threads, and sees that they end."""
    started: list[threading.Thread] = []

    def begin(target: Callable[..., Any], *args: Any, name: str | None = None) -> threading.Thread:
        started.append(threading.Thread(target=target, args=args, name=name, daemon=True))
        started[-1].start()
        return started[-1]

    yield begin
    for thread in started:
        thread.join(SOON_S)
        assert not thread.is_alive()
    waiting.until(lambda: not [one for one in threading.enumerate() if one.name == "Coordinator-watch"])


@pytest.fixture
def laggard(start: Start) -> Iterator[threading.Thread]:
    """A thread that does not listen to any coordinator."""
    end = threading.Event()
    yield start(end.wait, name="laggard")
    end.set()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """The time limits of all waits: a limit is a sign of polling."""
    limits: list[float | None] = []
    wait = threading.Condition.wait

    def noting(self: threading.Condition, timeout: float | None = None) -> bool:
        limits.append(timeout)
        return wait(self, timeout)

    monkeypatch.setattr(threading.Condition, "wait", noting)
    return limits


def test_a_stop_is_seen_by_all(start: Start) -> None:
    """Those that look, and those that wait."""
    coord = Coordinator()
    assert not coord.should_stop()
    assert not coord.wait_for_stop(0)
    assert not coord.wait_for_stop(timeout=-1.5)
    seen: list[bool] = []
    threads = [start(lambda: seen.append(coord.wait_for_stop())) for _ in range(4)]
    coord.request_stop()
    coord.join(threads)
    assert seen == [True] * 4
    assert coord.should_stop()
    assert coord.wait_for_stop(0)


def test_join_waits_for_registered_and_given_threads(start: Start) -> None:
    """Without a stop it returns when the last of them is dead; none is registered afterwards."""
    coord, doors = Coordinator(), [threading.Event(), threading.Event()]
    coord.register_thread(start(doors[0].wait))
    given = start(doors[1].wait)
    joining = start(coord.join, [given])
    for door in doors:
        assert not coord.joined
        door.set()
    joining.join(SOON_S)
    assert coord.joined
    assert not coord.should_stop()
    assert coord._registered_threads == set()


def test_the_same_thread_may_be_registered_and_given(start: Start) -> None:
    """The registered ones are a set."""
    coord = Coordinator()
    thread = start(int)
    coord.register_thread(thread)
    coord.register_thread(thread)
    assert coord._registered_threads == {thread}
    coord.join([thread])


def test_threads_that_were_never_started_are_not_waited_for() -> None:
    """They count as dead."""
    coord = Coordinator()
    coord.register_thread(threading.Thread(target=int))
    coord.join([threading.Thread(target=int)])
    assert coord.joined


def test_join_does_not_poll(start: Start, waits: list[float | None]) -> None:
    """It is woken by the end of the last thread, and by a stop: there is no interval to wait out."""
    for stop in (False, True):
        coord, door = Coordinator(), threading.Event()
        thread = start(coord.wait_for_stop if stop else door.wait)
        joining = start(coord.join, [thread])
        waiting.until(lambda: [one for one in threading.enumerate() if one.name == "Coordinator-watch"])
        coord.request_stop() if stop else door.set()
        joining.join(SOON_S)
        assert coord.joined
    # `waiting.until` and the start of a thread wait, too; the first with its own small interval
    assert set(waits) <= {None, 0.005}


def test_nothing_is_left_after_join() -> None:
    """The watcher of the threads ends before join does."""
    coord = Coordinator()
    before = threading.enumerate()
    threads = [threading.Thread(target=coord.wait_for_stop) for _ in range(8)]
    for thread in threads:
        thread.start()
    coord.request_stop()
    coord.join(threads)
    assert threading.enumerate() == before


def test_the_first_error_wins(start: Start) -> None:
    """It comes out of join, itself and with its traceback; later ones are dropped."""
    coord = Coordinator()

    def fail() -> None:
        try:
            int("seven")
        except ValueError as error:
            coord.request_stop(error)
            coord.request_stop(KeyError("later"))

    thread = start(fail)
    with pytest.raises(ValueError, match="seven") as caught:
        coord.join([thread])
    assert "fail" in [entry.name for entry in caught.traceback]
    assert coord.joined


def test_a_stop_without_an_error_wins_too(start: Start) -> None:
    """What breaks because of the stop is no news."""
    coord = Coordinator()
    coord.request_stop()
    coord.request_stop(CancelledError(None, None, "was cancelled"))
    coord.join([start(coord.wait_for_stop)])
    coord.raise_requested_exception()


def test_exc_info_is_taken() -> None:
    """What `sys.exc_info()` gives is as good as the exception."""
    coord = Coordinator()
    try:
        int("seven")
    except ValueError:
        coord.request_stop(sys.exc_info())
    with pytest.raises(ValueError, match="seven"):
        coord.join()


def test_a_fresh_exception_is_recorded() -> None:
    """One that was never raised, also while another one is handled."""
    coord, fresh = Coordinator(), KeyError("fresh")
    try:
        int("seven")
    except ValueError:
        coord.request_stop(fresh)
    with pytest.raises(KeyError) as caught:
        coord.join()
    assert caught.value is fresh
    coord = Coordinator()
    coord.request_stop(fresh)
    with pytest.raises(KeyError) as caught:
        coord.raise_requested_exception()
    assert caught.value is fresh


class Falsy(Exception):
    """An exception that is empty."""

    def __len__(self) -> int:
        return 0


def test_an_empty_exception_counts() -> None:
    """What it is worth in a condition does not matter."""
    coord = Coordinator()
    coord.request_stop(Falsy())
    with pytest.raises(Falsy):
        coord.join()


@pytest.mark.parametrize("nonsense", [(None, None, None), "an error", ValueError, (1, 2)])
def test_what_is_no_exception_is_an_error_of_its_own(nonsense: Any) -> None:
    """The stop happens, and join says what was reported instead."""
    coord = Coordinator()
    coord.request_stop(nonsense)
    assert coord.should_stop()
    with pytest.raises(ValueError, match="neither an exception nor"):
        coord.join()


@pytest.mark.parametrize(
    ("types", "clean", "raised"),
    [
        (None, OutOfRangeError(None, None, "end"), False),
        (None, StopIteration(), True),
        ((), OutOfRangeError(None, None, "end"), True),
        ((StopIteration, KeyError), StopIteration(), False),
        ((LookupError,), KeyError(), False),
    ],
)
def test_clean_types_are_a_normal_end(types: Any, clean: Exception, raised: bool) -> None:
    """None means OutOfRangeError; an empty tuple, that every error is one."""
    coord = Coordinator(clean_stop_exception_types=types)
    coord.request_stop((type(clean), clean, None))
    assert coord.should_stop()
    if raised:
        with pytest.raises(type(clean)):
            coord.join()
    else:
        coord.join()
        coord.raise_requested_exception()


def test_after_join_an_error_is_raised_to_its_reporter() -> None:
    """Nobody would hear of it otherwise; a clean one is still clean."""
    coord = Coordinator()
    coord.join()
    coord.request_stop(OutOfRangeError(None, None, "end"))
    fresh = KeyError("fresh")
    for report in (fresh, (KeyError, fresh, None)):
        with pytest.raises(KeyError) as caught:
            coord.request_stop(report)
        assert caught.value is fresh


def test_clear_stop_begins_anew(start: Start) -> None:
    """The stop, the error and `joined` are gone, and the next error is recorded."""
    coord = Coordinator()
    coord.request_stop(KeyError("old"))
    with pytest.raises(KeyError):
        coord.join()
    coord.clear_stop()
    assert not coord.should_stop()
    assert not coord.joined
    coord.raise_requested_exception()
    coord.request_stop(ValueError("new"))
    with pytest.raises(ValueError, match="new"):
        coord.join([start(coord.wait_for_stop)])


def test_a_stop_that_is_cleared_at_once_is_not_missed(start: Start) -> None:
    """Who waited for it is told, however late it comes to look."""
    coord, told = Coordinator(), []
    thread = start(lambda: told.append(coord.wait_for_stop()))
    waiting.until(lambda: coord._changed._waiters)  # type: ignore[attr-defined] # typeshed leaves it out
    with coord._lock:
        coord.request_stop()
        coord.clear_stop()
    thread.join(SOON_S)
    assert told == [True]


@pytest.mark.parametrize("grace_s", [1e-10, 0, 0.01])
def test_stragglers_are_named(start: Start, laggard: threading.Thread, grace_s: float) -> None:
    """After the grace period join gives up and says who is still alive."""
    coord, door = Coordinator(), threading.Event()
    coord.register_thread(laggard)
    coord.register_thread(start(door.wait, name="another"))
    coord.request_stop()
    said = r"^Coordinator stopped with threads still running: another laggard$"
    with pytest.raises(RuntimeError, match=said):
        coord.join(stop_grace_period_secs=grace_s)
    assert coord.joined
    assert coord._registered_threads == set()
    door.set()


def test_stragglers_may_be_left_alone(laggard: threading.Thread, caplog: pytest.LogCaptureFixture) -> None:
    """With `ignore_live_threads` they are only logged."""
    coord = Coordinator()
    coord.request_stop()
    with caplog.at_level(logging.INFO):
        coord.join([laggard], stop_grace_period_secs=1e-10, ignore_live_threads=True)
    assert "Coordinator stopped with threads still running: laggard" in caplog.text


def test_the_recorded_error_wins_over_stragglers(laggard: threading.Thread) -> None:
    """What went wrong first is the better news."""
    coord = Coordinator()
    coord.request_stop(KeyError("first"))
    with pytest.raises(KeyError, match="first"):
        coord.join([laggard], stop_grace_period_secs=1e-10)


def test_a_thread_that_would_wait_for_itself_is_told_at_once(start: Start) -> None:
    """Upstream, this never ended."""
    coord, errors = Coordinator(), []

    def join() -> None:
        coord.register_thread(threading.current_thread())
        try:
            coord.join()
        except RuntimeError as error:
            errors.append(str(error))

    start(join, name="selfish").join(SOON_S)
    assert errors
    assert "selfish, which is one of the threads that it waits for" in errors[0]
    assert not coord.joined


def test_stop_on_exception_reports_errors() -> None:
    """The block's error is swallowed, and comes out of join."""
    coord = Coordinator()
    with coord.stop_on_exception():
        pass
    assert not coord.should_stop()
    with coord.stop_on_exception():
        raise KeyError("reported")
    assert coord.should_stop()
    with pytest.raises(KeyError, match="reported"):
        coord.join()
    with pytest.raises(KeyError, match="late"), coord.stop_on_exception():
        raise KeyError("late")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, BaseException])
def test_stop_on_exception_does_not_swallow_an_exit(kind: type[BaseException]) -> None:
    """It goes on up, and stops the others, who are told why."""
    coord = Coordinator()
    with pytest.raises(kind), coord.stop_on_exception():
        raise kind
    assert coord.should_stop()
    with pytest.raises(kind):
        coord.join()


def test_a_generator_that_is_closed_only_stops() -> None:
    """Its end is not an error, and is not swallowed, which would be an error for Python."""
    coord = Coordinator()

    def batches() -> Iterator[int]:
        with coord.stop_on_exception():
            yield 1
            yield 2

    generator = batches()
    assert next(generator) == 1
    generator.close()  # type: ignore[attr-defined] # an Iterator for its users
    assert coord.should_stop()
    coord.join()


def test_a_signal_may_request_the_stop(start: Start) -> None:
    """Its handler runs in the thread that joins, and does not wait for the lock that this one holds."""
    coord = Coordinator()
    before = signal.signal(signal.SIGUSR1, lambda *_: coord.request_stop(KeyError("by signal")))
    try:
        with coord._lock:
            os.kill(os.getpid(), signal.SIGUSR1)
            waiting.until(coord.should_stop)
        with pytest.raises(KeyError, match="by signal"):
            coord.join([start(coord.wait_for_stop)])
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_programs_may_peek_at_the_lock() -> None:
    """`_lock` guards `_registered_threads`, as programs know them from TensorFlow."""
    coord, thread = Coordinator(), threading.Thread(target=int)
    coord.register_thread(thread)
    with coord._lock:
        assert thread in coord._registered_threads
