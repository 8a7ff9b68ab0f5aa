"""One trainer of several: ``python -m benchmarks.trainer SYSTEM SECONDS JSON`` takes batches and copies each out.

It says ``ready`` when the first batches have come, waits for a line on standard input, so that all begin together, and
prints how many batches came in how many seconds.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks.program import tell
from benchmarks.systems import TRAINERS

WARM_UP = 3
"""Batches."""


def main(system: str, seconds: float, arguments: dict[str, Any]) -> None:
    """Take batches for so long."""
    with TRAINERS[system].open(**arguments) as feed:
        batches = feed.batches
        buffers = [np.asarray(array).copy() for array in next(batches)]

        def take() -> None:
            for buffer, array in zip(buffers, next(batches), strict=True):
                np.copyto(buffer, np.asarray(array))

        for _ in range(WARM_UP):
            take()
        tell("ready")
        sys.stdin.readline()
        count, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            take()
            count += 1
        tell({"batches": count, "seconds": took})


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3]))
