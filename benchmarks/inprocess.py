"""``python -m benchmarks inprocess``: the enqueuers of one program, and how long the end of an epoch takes."""

from __future__ import annotations

from collections.abc import Sequence

import click

from benchmarks.batches import SIZES, Size
from benchmarks.comparison import Run, comparison
from benchmarks.report import aligned, number, rate_row, troubles
from benchmarks.results import RATE, Target, find, middle, ratio, ratios
from benchmarks.rounds import Measured
from benchmarks.systems import EPOCH, IN_PROCESS
from benchmarks.systems.enqueuers import QUEUE, WORKERS

AGAINST = (
    ("big", "processes", "keras-processes", 20.0),
    ("mid", "processes", "keras-processes", 8.0),
    ("small", "processes", "keras-processes", 1.5),
    ("big", "processes", "dataloader", 6.0),
    ("small", "threads", "keras-threads", 1.0),
)
GAP = "gap_ms"
LEAST_GAP = 20.0


@comparison("--only", "Only systems whose name begins so", IN_PROCESS)
def inprocess(run: Run) -> None:
    """Measure enqueuers: batches a second, and the time between epochs.

    Batches are made beforehand; two workers hand them to a consumer that copies every byte into buffers of its own.
    Each measurement has a fresh process and a warm-up; systems take turns, and ratios are taken within a round.
    """
    measured = run.measure(rate_table)
    if any(entry.system.name.endswith("-epochs") for entry in measured):
        click.echo(f"\n{gap_table(measured)}")
    run.conclude(measured, targets(measured, run.sizes))


def rate_table(size: Size, measured: Sequence[Measured]) -> str:
    """One size: a row for each system, also for those that could not be measured."""
    entries = [entry for entry in measured if not entry.system.name.endswith("-epochs")]
    bases = find(entries, "processes", size.name), find(entries, "threads", size.name)
    rows = [["", "batches/s", "GB/s", "lowest", "highest", "processes are", "threads are", "consumer's CPU"]]
    for entry in entries:
        times = [number(ratio(base, entry) if base else None, 1, 2, " x") for base in bases]
        rows.append(rate_row(entry, *times, number(middle(entry, "client_cpu_us"), 1, 1, " us")))
    head = f"{size.name}: {size.words}\n{WORKERS} workers, max_queue_size {QUEUE}"
    return "\n".join([head, "", aligned(rows), *troubles(entries)])


def gap_table(measured: Sequence[Measured]) -> str:
    """How long the consumer waits for the first batch of an epoch after the last one of the epoch before it."""
    entries = [entry for entry in measured if entry.system.name.endswith("-epochs")]
    base = next((entry for entry in entries if entry.system.name == "processes-epochs"), None)
    rows = [["", "between epochs", "times ours, processes", "batches/s"]]
    for entry in entries:
        gap = number(middle(entry, GAP), 1, 3, " ms") if entry.rounds else entry.trouble.split(":")[0]
        times = ratio(entry, base, GAP) if base else None
        rows.append([entry.system.title, gap, number(times, 1, 1, " x"), number(middle(entry, RATE))])
    head = f"between epochs of {EPOCH} batches of {SIZES['mid'].nbytes / 1e6:.3g} MB"
    return "\n".join([head, "", aligned(rows), *troubles(entries)])


def targets(measured: Sequence[Measured], sizes: Sequence[str]) -> list[Target]:
    """All targets that these sizes have, reached or not."""
    found = ratios(AGAINST, measured, sizes)
    if "mid" in sizes:
        one, other = find(measured, "processes-epochs", "mid"), find(measured, "keras-processes-epochs", "mid")
        value = ratio(other, one, GAP) if one and other else None
        found.append(Target("between epochs: keras-processes / processes", LEAST_GAP, None, "x", value))
    return found
