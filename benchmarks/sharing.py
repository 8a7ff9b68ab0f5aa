"""``python -m benchmarks sharing``: several trainers on one source whose batches cost CPU time."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks.report import aligned, host, number, target_table
from benchmarks.results import Target
from benchmarks.systems.daemon import started
from enqueued.client.query import query

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
SOURCE = "photos:Photos"
WORKERS = 4
"""In all, however many trainers there are; a private loader has its part of them."""
TRAINERS = (1, 2, 4)
BATCH = 16
"""Photographs."""
LEAST = 0.9
"""Of the number of trainers, so many times faster they must be."""


@dataclass
class Rates:
    """Batches a second that the trainers had together, in each round."""

    shared: list[float] = field(default_factory=list)
    private: list[float] = field(default_factory=list)
    made: list[float] = field(default_factory=list)
    """Batches that the daemon made for each that one trainer had."""

    @property
    def ratio(self) -> float | None:
        """How many times faster they are with the daemon: the median of the ratios within a round."""
        pairs = zip(self.shared, self.private, strict=False)
        return median(one / other for one, other in pairs) if self.private else None


@click.command()
@click.option("--seconds", type=click.FloatRange(0.5), default=6.0, show_default=True, help="Of each measurement.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Measurements of each.")
@click.option("--photos", type=click.IntRange(BATCH), default=200, show_default=True, help="JPEGs in the folder.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures to this file.")
def sharing(seconds: float, rounds: int, photos: int, file: Path | None) -> None:
    """Measure K trainers of one daemon beside K private DataLoaders.

    The source decodes JPEGs (examples/photos.py). All have the same number of workers in all; each trainer sees every
    batch and copies it out. Their rates are added up.
    """
    where = host()
    click.echo("  ".join(f"{key} {value}" for key, value in where.items()))
    if importlib.util.find_spec("torch") is None:
        click.echo("PyTorch DataLoader: not installed (torch)")
    found = {trainers: Rates() for trainers in TRAINERS}
    with tempfile.TemporaryDirectory(prefix="enq-photos-") as folder:
        make = [sys.executable, str(EXAMPLES / "photos.py"), "make", folder, "--count", str(photos)]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        arguments = {"folder": folder, "batch_size": BATCH}
        for turn in range(rounds):
            for trainers, rates in found.items():
                _round(trainers, rates, arguments, seconds)
                told = f"{rates.private[-1]:.1f}/s" if rates.private else "not installed"
                click.echo(
                    f"{trainers} trainers {turn + 1}/{rounds}  enqueued: {rates.shared[-1]:.1f}/s  loaders: {told}",
                    err=True,
                )
    targets = [
        Target(f"{trainers} trainers: one daemon / private DataLoaders", LEAST * trainers, None, "x", rates.ratio)
        for trainers, rates in found.items()
    ]
    click.echo(f"\n{_table(found)}\n\n{target_table(targets)}\n\n{rounds} rounds of {seconds:g} s each; medians")
    if file is not None:
        plain = {str(trainers): vars(rates) | {"ratio": rates.ratio} for trainers, rates in found.items()}
        file.write_text(json.dumps({"host": where, "workers": WORKERS, "trainers": plain}, indent=2) + "\n")


def _table(found: dict[int, Rates]) -> str:
    rows = [["trainers", "one daemon", "private DataLoaders", "times", "makes per batch of one trainer"]]
    for trainers, rates in found.items():
        private = number(median(rates.private), 1, 1, "/s") if rates.private else "not installed"
        shared, made = number(median(rates.shared), 1, 1, "/s"), number(median(rates.made), 1, 2)
        rows.append([str(trainers), shared, private, number(rates.ratio, 1, 2, " x"), made])
    return f"{SOURCE}, batches of {BATCH} photographs, {WORKERS} workers in all\n\n{aligned(rows)}"


def _round(trainers: int, rates: Rates, arguments: dict[str, Any], seconds: float) -> None:
    flags = ["--app-dir", str(EXAMPLES), "--workers", str(WORKERS)]
    flags += ["--max-queue-size", str(2 * WORKERS)]  # as many as the loaders keep ready
    with started(SOURCE, *flags, **arguments) as (endpoint, _):
        rate, count, made = _together(trainers, "client", {"endpoint": endpoint}, seconds, endpoint)
        rates.shared.append(rate)
        rates.made.append(made * trainers / count)
    if importlib.util.find_spec("torch") is not None:
        told = {"source": SOURCE, "arguments": arguments, "workers": WORKERS // trainers}
        rates.private.append(_together(trainers, "loader", told, seconds)[0])


def _together(
    trainers: int, system: str, arguments: dict[str, Any], seconds: float, endpoint: str | None = None
) -> tuple[float, int, int]:
    """Batches a second of all trainers together, how many they had, and how many the daemon made meanwhile."""
    command = [sys.executable, "-m", "benchmarks.trainer", system, str(seconds), json.dumps(arguments)]
    quiet = "ignore::UserWarning"  # a loader warns where there are fewer cores than workers
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{EXAMPLES}", "PYTHONWARNINGS": quiet}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, cwd=ROOT, env=environ, **pipes) for _ in range(trainers)]
    try:
        for one in running:
            assert one.stdout is not None
            if one.stdout.readline() != "ready\n":
                raise click.ClickException(f"a trainer of {system} has ended: see above")
        before = _made(endpoint)
        for one in running:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        results = [json.loads(one.communicate(timeout=seconds + 60)[0].splitlines()[-1]) for one in running]
        made = _made(endpoint) - before
    finally:
        for one in running:
            one.kill()
            one.wait()
    rate = sum(result["batches"] / result["seconds"] for result in results)
    return rate, sum(result["batches"] for result in results), made


def _made(endpoint: str | None) -> int:
    return int(query("stats", endpoint)["streams"][0]["made"]) if endpoint else 0
