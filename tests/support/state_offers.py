"""A process that offers one state after the other to a state file, and says what became of each.

Lines on standard output: ``offered N``, ``durable N``, ``failed N``, and ``logged TIMES`` at the end.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from typing import Any

from enqueued.server.state import StateFile
from waiting import until


def state(number: int, size: int) -> dict[str, Any]:
    """What is offered under this number."""
    return {"number": number, "data": number.to_bytes(4, "big") * size}


def say(text: str) -> None:
    """Tell a line; with writev, so that a fault injected into write meets the state file alone."""
    os.writev(1, [text.encode() + b"\n"])


class Counting(logging.Handler):
    """Counts what is logged."""

    times = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        self.times += 1


def offer(file: StateFile, number: int, size: int) -> None:
    """Hand one state over."""
    say(f"offered {number}")
    plain = state(number, size)
    assert file.offer(plain, float(number), tag=number)
    plain.clear()  # what is offered is a snapshot


def outcome(file: StateFile, failures: int) -> str:
    """What became of the last offer, when that is known."""
    if file.failures > failures:
        return "failed"
    return "durable" if file.written() is not None else ""


def main(path: str, count: int, size: int) -> None:
    """Offer `count` states, in numbers that go on from the stored one."""
    logged = Counting()
    logging.getLogger("enqueued").addHandler(logged)
    file = StateFile(path)
    first = file.load().get("number", 0) + 1
    for number in range(first, first + count):
        failures = file.failures
        offer(file, number, size)
        became = until(partial(outcome, file, failures), within=50)
        say(f"{became} {number}")
    file.close()
    say(f"logged {logged.times}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
