"""A signal's handler may raise at any point of taking a batch: nothing hangs, and hardly anything is lost."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import enqueued
from serving import Serving

HOME = str(Path(enqueued.__file__).parent)
WATCHED = ("client/subscription.py", "client/link.py", "client/run.py", "client/buffers.py", "codec/runs.py")
LENGTH = 120


class Interrupt(BaseException):
    """What the handler raises."""


class Raising:
    """Raises at the so-manieth line of the client's own code."""

    def __init__(self, line: int) -> None:
        self.left = line

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(HOME) or not name.endswith(WATCHED):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise Interrupt
        return self


@pytest.mark.timeout(120)
def test_an_interrupt_at_any_line_loses_one_batch_at_most() -> None:
    """The first forty batches, that is the first runs, are taken with an interrupt at one line after the other."""
    flags = ("--sequence", "sources.counting:Counting", "--arg", f"length={LENGTH}", "--max-queue-size", "400")
    with Serving(*flags) as daemon:
        daemon.ready()
        for line in itertools.count(1, 7):
            raising = Raising(line)
            found: list[int] = []
            with daemon.client(prefetch=16, batch_timeout=20) as client:
                batches = iter(client)
                before = sys.gettrace()
                sys.settrace(raising)
                try:
                    found.extend(int(number) for _, number in itertools.islice(batches, 40))
                except Interrupt:
                    pass
                finally:
                    sys.settrace(before)
                found.extend(int(number) for _, number in batches)
            assert found == sorted(set(found))
            assert len(found) >= LENGTH - 1
            if raising.left > 0:
                return
