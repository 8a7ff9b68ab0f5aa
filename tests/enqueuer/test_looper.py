"""A thread that repeats something."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from enqueued.enqueuer.coordinator import Coordinator
from enqueued.enqueuer.looper import LooperThread

pytestmark = pytest.mark.timeout(30)
SOON_S = 10


class Noting(LooperThread):
    """Notes what is called, and may fail there."""

    def __init__(self, coord: Coordinator, fails: str = "", kind: type[BaseException] = KeyError) -> None:
        super().__init__(coord, None)
        self.fails, self.kind = fails, kind
        self.calls: list[str] = []

    def note(self, name: str) -> None:
        assert threading.current_thread() is self
        self.calls.append(name)
        if name == self.fails:
            raise self.kind(name)

    def start_loop(self) -> None:
        self.note("start")

    def run_loop(self) -> None:
        self.note("run")
        if self.calls.count("run") == 3:
            self._coord.request_stop()

    def stop_loop(self) -> None:
        self.note("stop")


class Clock(Coordinator):
    """A coordinator in whose world waiting is what makes time pass; it stops after some waits."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.now = 100.0
        self.left = waits
        self.waited: list[float] = []

    def wait_for_stop(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waited.append(timeout)
        self.now += max(timeout, 0)
        self.left -= 1
        return self.left < 0


class Timed(LooperThread):
    """Looks at that clock; each call takes `take_s` of it."""

    def __init__(self, coord: Clock, interval_s: float, take_s: list[float]) -> None:
        super().__init__(coord, interval_s)
        self.clock, self.take_s = coord, take_s
        self.begun: list[float] = []

    def _now(self) -> float:
        return self.clock.now

    def run_loop(self) -> None:
        self.begun.append(self.clock.now)
        self.clock.now += self.take_s[len(self.begun) - 1]


def test_it_calls_its_target_until_the_stop() -> None:
    """Back to back, with its arguments; it is a daemon and has registered itself."""
    coord, calls = Coordinator(), []

    def target(*args: Any, **kwargs: Any) -> None:
        calls.append((args, kwargs))
        if len(calls) == 3:
            coord.request_stop()

    looper = LooperThread(coord, None, target=target, args=(1, 2), kwargs={"x": 3})
    assert looper.daemon
    assert looper in coord._registered_threads
    looper.start()
    coord.join(stop_grace_period_secs=SOON_S)
    assert calls == [((1, 2), {"x": 3})] * 3


def test_without_an_interval_calls_follow_each_other() -> None:
    """Nothing is waited for between them."""
    clock, calls = Clock(waits=100), []

    def target() -> None:
        calls.append(clock.now)
        if len(calls) == 3:
            clock.request_stop()

    LooperThread(clock, None, target).run()
    assert (len(calls), clock.waited) == (3, [])


@pytest.mark.parametrize("interval", [None, 0, 1e-6])
def test_loop_makes_one_and_starts_it(interval: float | None) -> None:
    """With the same arguments."""
    coord, called = Coordinator(), threading.Event()
    looper = LooperThread.loop(coord, interval, target=called.set)
    assert called.wait(SOON_S)
    coord.request_stop()
    coord.join([looper], stop_grace_period_secs=SOON_S)


def test_the_first_call_is_made_at_once() -> None:
    """An hour's interval does not keep the first call back, nor the stop."""
    coord, called = Coordinator(), threading.Event()
    LooperThread.loop(coord, 3600, called.set)
    assert called.wait(SOON_S)
    coord.request_stop()
    coord.join(stop_grace_period_secs=SOON_S)


def test_the_schedule_is_fixed() -> None:
    """A call that takes its time does not move the next one, and calls that are late are made up for."""
    clock = Clock(waits=6)
    looper = Timed(clock, 10, take_s=[0, 4, 25, 0, 0, 0])
    looper.run()
    assert looper.begun == [100, 110, 120, 145, 145, 150]
    assert clock.waited == [0, 10, 6, -15, -5, 5, 10]


def test_each_part_is_called_in_its_thread() -> None:
    """Start once, run until the stop, stop once."""
    coord = Coordinator()
    looper = Noting(coord)
    looper.start()
    coord.join(stop_grace_period_secs=SOON_S)
    assert looper.calls == ["start", "run", "run", "run", "stop"]


@pytest.mark.parametrize(
    ("fails", "calls"),
    [
        ("start", ["start", "stop"]),
        ("run", ["start", "run", "stop"]),
        ("stop", ["start", "run", "run", "run", "stop"]),
    ],
)
def test_stop_loop_is_always_called(fails: str, calls: list[str]) -> None:
    """After an error, too, which is reported; upstream leaves open what `start_loop` opened."""
    coord = Coordinator()
    looper = Noting(coord, fails)
    looper.start()
    if fails == "stop":  # the stop came before it
        coord.join(stop_grace_period_secs=SOON_S)
    else:
        with pytest.raises(KeyError, match=fails):
            coord.join(stop_grace_period_secs=SOON_S)
    assert looper.calls == calls


def test_an_exit_stops_the_others() -> None:
    """`sys.exit` in a looper is heard by who joins; Python itself says nothing of it."""
    coord = Coordinator()
    looper = Noting(coord, "run", SystemExit)
    looper.start()
    with pytest.raises(SystemExit):
        coord.join(stop_grace_period_secs=SOON_S)
    assert looper.calls == ["start", "run", "stop"]


def test_without_a_target_it_does_nothing() -> None:
    """Until the stop."""
    coord = Coordinator()
    looper = LooperThread.loop(coord, 3600)
    coord.request_stop()
    coord.join([looper], stop_grace_period_secs=SOON_S)


def test_wrong_arguments_are_refused() -> None:
    """At once, and without registering anything."""
    coord = Coordinator()
    with pytest.raises(ValueError, match="'coord' argument must be a Coordinator: 'x'"):
        LooperThread("x", None)  # type: ignore[arg-type] # that is the point
    for wrong in ({"args": (1,)}, {"kwargs": {"x": 1}}):
        with pytest.raises(ValueError, match="'args' and 'kwargs' argument require that you also pass 'target'"):
            LooperThread(coord, None, **wrong)
    assert coord._registered_threads == set()
