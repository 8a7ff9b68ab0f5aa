"""How processes end, in words, and when too many of them have."""

from __future__ import annotations

import os
import signal

from enqueued.errors import CrashLoop

_MOST = 5
"""So many processes may die one after another without a single batch in between, or two for each worker..."""
_WITHIN_S = 60.0
"""... in this time."""


def death(code: int, *, signalled: bool) -> str:
    """How a process ended, in words."""
    if not signalled:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(code).name}"
    except ValueError:
        return f"was killed by signal {code}"


def death_of(status: int) -> str:
    """How a process ended, from its wait status."""
    if os.WIFSIGNALED(status):
        return death(os.WTERMSIG(status), signalled=True)
    return death(os.WEXITSTATUS(status), signalled=False)


class Deaths:
    """Counts the processes that died since the last sign of life: an answer, be it a batch or an error."""

    def __init__(self, target: str, workers: int) -> None:
        self._target = target
        self._most = max(_MOST, 2 * workers)
        self._times: list[float] = []

    def reset(self) -> None:
        """A worker has answered."""
        if self._times:
            self._times = []

    def add(self, what: str, now: float) -> CrashLoop | None:
        """A process has died; an error when that were too many."""
        self._times = [one for one in self._times if now - one < _WITHIN_S] + [now]
        if len(self._times) < self._most:
            return None
        return CrashLoop(f"{self._target}: {len(self._times)} processes ended without making a batch; last, {what}")
