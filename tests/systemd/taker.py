"""A trainer: takes one epoch of `served.Counting`, and says in one line of JSON what it got."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from enqueued import Client


def main() -> None:
    numbers: list[int] = []
    mapped = False
    with Client(connect_timeout=float(sys.argv[1])) as client:
        for x, y in client:
            number = int(x[0, 0])
            assert np.array_equal(x, np.full((256, 1024), number, np.float32)), "x is not what was served"
            assert np.array_equal(y, np.arange(16) * number), "y is not what was served"
            numbers.append(number)
            mapped = mapped or "/memfd:" in Path("/proc/self/maps").read_text()
    sys.stdout.write(json.dumps({"numbers": numbers, "shared_memory": mapped}) + "\n")


if __name__ == "__main__":
    main()
