"""``python -m benchmarks transport``: batches a second from one process to another that copies them out."""

from __future__ import annotations

from benchmarks.comparison import Run, comparison
from benchmarks.latency import help_target
from benchmarks.report import size_table
from benchmarks.results import targets
from benchmarks.systems import OURS, SYSTEMS


@comparison("--against", "Only this peer, or those whose name begins so", SYSTEMS, always=OURS)
def transport(run: Run) -> None:
    """Measure how many batches a second come through.

    Batches are made beforehand; one process produces, one copies every byte of each batch into buffers of its own. Each
    measurement has a fresh process and a warm-up; systems take turns, and ratios are taken within a round.
    """
    measured = run.measure(size_table)
    run.conclude(measured, [*targets(measured, run.sizes), help_target()])
