"""``python -m benchmarks remote``: batches a second over tcp on loopback, to one client and to several together."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.batches import SIZES, Consumer, Size
from benchmarks.comparison import Run, comparison
from benchmarks.program import program, tell
from benchmarks.report import aligned, number, rate_row, troubles
from benchmarks.results import RATE, Target, find, middle, ratio, ratios
from benchmarks.rounds import Measured
from benchmarks.systems import CLIENTS, LARGE, REMOTE, System
from benchmarks.trial import WARM_UP

LEAST = 0.9
"""Of what bare sockets do."""
LIMIT_S = 60.0
"""And three times the seconds of a measurement, for each client."""


@comparison(
    "--against",
    "Only this peer, or those whose name begins so",
    REMOTE,
    always=[f"enqueued-{clients}" for clients in CLIENTS],
    sizes={name: SIZES[name] for name in LARGE},
)
def remote(run: Run) -> None:
    """Measure how many batches a second come through tcp on loopback.

    Batches are made beforehand; one process has them, and one client or four, each a process, divide them and copy
    every byte of each batch into buffers of their own. All are fresh for each measurement; the clients begin together,
    and after a warm-up count over the same span. Their rates are added up.
    """
    measured = run.measure(table, _once)
    run.conclude(measured, targets(measured, run.sizes))


def table(size: Size, measured: Sequence[Measured]) -> str:
    """A row for each system and number of clients, also for those that could not be measured."""
    rows = [["", "batches/s", "GB/s", "lowest", "highest", "enqueued is", "client CPU"]]
    for entry in measured:
        base = find(measured, f"enqueued-{REMOTE[entry.system.name].clients}", size.name)
        rows.append(
            rate_row(
                entry,
                number(ratio(base, entry) if base else None, 1, 2, " x"),
                number(middle(entry, "client_cpu_us"), 1, 1, " us"),
            )
        )
    head = f"{size.name}: {size.words}\nenqueued: 1 worker, --max-queue-size {size.queue}, prefetch {size.prefetch}; "
    return "\n".join([f"{head}batches/s of all clients together", "", aligned(rows), *troubles(measured)])


def targets(measured: Sequence[Measured], sizes: Sequence[str]) -> list[Target]:
    """As fast as bare sockets, or nearly: for each size and number of clients."""
    against = [(size, f"enqueued-{clients}", f"pyzmq-{clients}", LEAST) for size in LARGE for clients in CLIENTS]
    return ratios(against, measured, sizes)


def _once(system: System, size: Size, seconds: float) -> dict[str, Any]:
    """All clients of a system together."""
    divided = REMOTE[system.name]
    with divided.serve(size) as server, ExitStack() as stack:
        command = [system.name, size.name, str(seconds), server.address]
        clients = [
            stack.enter_context(program(__name__, *command, limit_s=3 * seconds + LIMIT_S))
            for _ in range(divided.clients)
        ]
        for client in clients:
            client.hear()
        facts = server.facts()
        for client in clients:
            client.tell("go")
        results = [client.hear() for client in clients]
    rate = sum(result["batches"] / result["seconds"] for result in results)
    batches = sum(result["batches"] for result in results)
    return {
        RATE: rate,
        "bytes_per_s": rate * size.nbytes,
        "client_cpu_us": sum(result["cpu_s"] for result in results) / batches * 1e6,
        "batches": batches,
        "clients": results,
        **facts,
    }


def _client(name: str, size_name: str, seconds: float, address: str) -> None:
    """Copy batches out: the first, then, together with the other clients, those of the warm-up and those that count."""
    size = SIZES[size_name]
    with REMOTE[name].open(size, address) as feed:
        consumer = Consumer(size)
        consumer.take(next(feed.batches))
        tell("ready")
        sys.stdin.readline()
        _take(feed.batches, consumer, WARM_UP * seconds)
        cpu = time.process_time()
        count, took = _take(feed.batches, consumer, seconds)
        tell({"batches": count, "seconds": took, "cpu_s": time.process_time() - cpu})


def _take(batches: Iterator[Any], consumer: Consumer, seconds: float) -> tuple[int, float]:
    """How many batches came in how many seconds; one at least."""
    count, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds or not count:
        consumer.take(next(batches))
        count += 1
    return count, took


if __name__ == "__main__":
    _client(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4])
