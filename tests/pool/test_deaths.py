"""How processes end, in words, and when that is a crash loop."""

from __future__ import annotations

import os
import signal

from enqueued.errors import CrashLoop
from enqueued.pool.deaths import Deaths, death, death_of


def test_an_end_is_told_in_words() -> None:
    """A code, a signal's name, or its number where it has none."""
    assert death(3, signalled=False) == "exited with code 3"
    assert death(11, signalled=True) == "was killed by SIGSEGV"
    assert death(63, signalled=True) == "was killed by signal 63"


def test_a_wait_status_is_understood() -> None:
    """As waitpid gives it."""
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    assert death_of(os.waitpid(pid, 0)[1]) == "was killed by SIGKILL"
    pid = os.fork()
    if pid == 0:
        os._exit(5)
    assert death_of(os.waitpid(pid, 0)[1]) == "exited with code 5"


def test_deaths_in_a_row_are_a_crash_loop() -> None:
    """Five, or two for each worker."""
    deaths = Deaths("mod:Seq", 1)
    assert [deaths.add("x", 0.1 * n) for n in range(4)] == [None] * 4
    error = deaths.add("worker 0 died", 0.5)
    assert isinstance(error, CrashLoop)
    assert str(error) == "mod:Seq: 5 processes ended without making a batch; last, worker 0 died"
    many = Deaths("mod:Seq", 8)
    assert [many.add("x", 0.0) for _ in range(15)] == [None] * 15
    assert many.add("x", 0.0) is not None


def test_a_sign_of_life_begins_the_count_anew() -> None:
    """So does time."""
    deaths = Deaths("mod:Seq", 1)
    for n in range(20):
        assert deaths.add("x", float(n)) is None
        if n % 4 == 3:
            deaths.reset()
    assert all(deaths.add("x", 100.0 + 20.0 * n) is None for n in range(20))
