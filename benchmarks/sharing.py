"""``python -m benchmarks sharing``: several trainers on one source whose batches cost CPU time."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks.comparison import peers
from benchmarks.photographs import BATCH, SOURCE, filled
from benchmarks.program import program
from benchmarks.report import aligned, host, number, target_table
from benchmarks.results import Target
from benchmarks.systems import PEERS, System
from benchmarks.systems.daemon import started
from benchmarks.systems.trainers import READY
from enqueued.client.query import query

WORKERS = 4
"""In all, however many trainers there are; what is private has its part of them."""
TRAINERS = (1, 2, 4)
LIMIT_S = 120.0
LEAST = 0.9
"""Of the number of trainers, so many times faster than with private DataLoaders they must be."""


@dataclass
class Rates:
    """Batches a second that the trainers had together, in each round; `private` by peer."""

    shared: list[float] = field(default_factory=list)
    private: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    made: list[float] = field(default_factory=list)
    """Batches that the daemon made for each that one trainer had."""

    def ratio(self, peer: str) -> float | None:
        """How many times faster they are with the daemon: the median of the ratios within a round."""
        pairs = list(zip(self.shared, self.private.get(peer, ()), strict=False))
        return median(one / other for one, other in pairs) if pairs else None


@click.command()
@click.option("--seconds", type=click.FloatRange(0.5), default=6.0, show_default=True, help="Of each measurement.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Measurements of each.")
@click.option("--photos", type=click.IntRange(BATCH), default=200, show_default=True, help="JPEGs in the folder.")
@peers("--against", "Only this peer, or those whose name begins so", PEERS)
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures to this file.")
def sharing(seconds: float, rounds: int, photos: int, systems: list[System], file: Path | None) -> None:
    """Measure K trainers of one daemon beside K that each make their batches themselves.

    The source decodes JPEGs (examples/photos.py). All have the same number of workers in all; each trainer sees every
    batch and copies it out. Their rates are added up.
    """
    where = host()
    click.echo("  ".join(f"{key} {value}" for key, value in where.items()))
    found = {trainers: Rates() for trainers in TRAINERS}
    with tempfile.TemporaryDirectory(prefix="enq-photos-") as folder:
        filled(folder, photos)
        for turn in range(rounds):
            for trainers, rates in found.items():
                told = "  ".join(
                    f"{name}: {rate:.1f}/s" for name, rate in _round(trainers, rates, systems, folder, seconds)
                )
                click.echo(f"{trainers} trainers {turn + 1}/{rounds}  {told}", err=True)
    targets = [
        Target(
            f"{trainers} trainers: one daemon / private DataLoaders", LEAST * trainers, None, "x", rates.ratio("torch")
        )
        for trainers, rates in found.items()
    ]
    click.echo(
        f"\n{table(found, systems)}\n\n{target_table(targets)}\n\n{rounds} rounds of {seconds:g} s each; medians"
    )
    if file is not None:
        plain = {str(trainers): vars(rates) for trainers, rates in found.items()}
        file.write_text(json.dumps({"host": where, "workers": WORKERS, "trainers": plain}, indent=2) + "\n")


def table(found: dict[int, Rates], systems: Sequence[System]) -> str:
    """A row for each number of trainers; a column for each peer, and how many times faster they are with the daemon."""
    rows = [["trainers", "one daemon", "makes per batch of one", *(system.title for system in systems)]]
    for trainers, rates in found.items():
        told = [number(median(rates.shared), 1, 1, "/s"), number(median(rates.made), 1, 2)]
        for system in systems:
            private = rates.private.get(system.name)
            rate = number(median(private), 1, 1, "/s") if private else "not installed"
            told.append(f"{rate} {number(rates.ratio(system.name), 1, 2, ' x'):>8}")
        rows.append([str(trainers), *told])
    head = f"{SOURCE}, batches of {BATCH} photographs, {WORKERS} workers in all; batches/s of all trainers together"
    missing = [f"{system.name}: not installed ({system.needs})" for system in systems if not system.installed]
    return "\n".join([head, "", aligned(rows), *missing])


def _round(
    trainers: int, rates: Rates, systems: Sequence[System], folder: str, seconds: float
) -> Iterator[tuple[str, float]]:
    """Each once; gives who had how much."""
    flags = ["--workers", str(WORKERS), "--max-queue-size", str(READY * WORKERS)]  # as many as the others keep ready
    with started(SOURCE, *flags, folder=folder) as (endpoint, _):
        rate, count, made = _together(trainers, "enqueued", {"endpoint": endpoint}, seconds, endpoint)
        rates.shared.append(rate)
        rates.made.append(made * trainers / count)
    yield "enqueued", rate
    for system in systems:
        if system.installed:
            told = {"source": SOURCE, "arguments": {"folder": folder}, "workers": WORKERS // trainers}
            rates.private[system.name].append(_together(trainers, system.name, told, seconds)[0])
            yield system.name, rates.private[system.name][-1]


def _together(
    trainers: int, system: str, arguments: dict[str, Any], seconds: float, endpoint: str | None = None
) -> tuple[float, int, int]:
    """Batches a second of all trainers together, how many they had, and how many the daemon made meanwhile."""
    command = [system, str(seconds), json.dumps(arguments)]
    with ExitStack() as stack:
        running = [
            stack.enter_context(program("benchmarks.trainer", *command, limit_s=seconds + LIMIT_S))
            for _ in range(trainers)
        ]
        for one in running:
            one.hear()
        before = _made(endpoint)
        for one in running:
            one.tell("go")
        results = [one.hear() for one in running]
        made = _made(endpoint) - before
    rate = sum(result["batches"] / result["seconds"] for result in results)
    return rate, sum(result["batches"] for result in results), made


def _made(endpoint: str | None) -> int:
    return int(query("stats", endpoint)["streams"][0]["made"]) if endpoint else 0
