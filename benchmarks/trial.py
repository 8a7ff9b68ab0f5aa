"""One measurement in a fresh process: ``python -m benchmarks.trial SYSTEM SIZE SECONDS FOLDER`` prints JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.batches import SIZES, Consumer
from benchmarks.systems import IN_PROCESS, SYSTEMS, Feed

WARM_UP = 0.3
"""Of the seconds measured, so much more goes before, and at least two whole queues."""


def trial(system: str, size_name: str, seconds: float, folder: Path) -> dict[str, Any]:
    """Take batches for so long, after a warm-up; rates, CPU per batch and what the system tells of itself."""
    size = SIZES[size_name]
    with (SYSTEMS | IN_PROCESS)[system].open(size, folder) as feed:
        consumer = Consumer(size)
        _consume(feed, consumer, WARM_UP * seconds, at_least=2 * size.queue)
        usage, cpu = feed.usage(), time.process_time()
        count, took = _consume(feed, consumer, seconds, at_least=2)
        cpu = time.process_time() - cpu
        after = feed.usage()
        result: dict[str, Any] = {
            "batches_per_s": count / took,
            "bytes_per_s": count * size.nbytes / took,
            "client_cpu_us": cpu / count * 1e6,
            "batches": count,
            "seconds": took,
            **feed.facts(),
        }
    for who in ("daemon", "worker"):
        if f"{who}_cpu_s" in usage:
            result[f"{who}_cpu_us"] = (after[f"{who}_cpu_s"] - usage[f"{who}_cpu_s"]) / count * 1e6
    if "messages" in usage:
        result["messages_per_batch"] = (after["messages"] - usage["messages"]) / count
    for share in ("starved_s", "full_s"):
        if share in usage:
            result[share.replace("_s", "_share")] = (after[share] - usage[share]) / took
    return result


def _consume(feed: Feed, consumer: Consumer, seconds: float, at_least: int) -> tuple[int, float]:
    clock, take, batches = time.perf_counter, consumer.take, feed.batches
    count, began = 0, clock()
    while True:
        take(next(batches))
        count += 1
        took = clock() - began
        if took >= seconds and count >= at_least:
            return count, took


if __name__ == "__main__":
    sys.stdout.write(json.dumps(trial(sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4]))) + "\n")
