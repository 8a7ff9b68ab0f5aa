"""``python -m benchmarks start``: how long a person waits for ``enqueued --help``."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import click

from benchmarks.report import target_table
from benchmarks.results import Target

RUNS = 7
MOST_MS = 150.0


def help_target(runs: int = RUNS) -> Target:
    """The median wall time of ``enqueued --help`` in a fresh process, after one that warms the file cache."""
    took = [_help_ms() for _ in range(runs + 1)]
    return Target("enqueued --help", None, MOST_MS, "ms", median(took[1:]))


def _help_ms() -> float:
    command = Path(sys.executable).with_name("enqueued")  # what this environment's installation made
    began = time.perf_counter()
    subprocess.run([command, "--help"], stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1e3


@click.command()
@click.option("--runs", type=click.IntRange(1), default=RUNS, show_default=True, help="How many times.")
def start(runs: int) -> None:
    """Time `enqueued --help`."""
    click.echo(target_table([help_target(runs)]))
