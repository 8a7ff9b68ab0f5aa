"""``python -m benchmarks inprocess``: the enqueuers of one program, and how long the end of an epoch takes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.batches import SIZES, Size
from benchmarks.report import aligned, host, number, plain, target_table
from benchmarks.results import RATE, Target, find, middle, ratio
from benchmarks.rounds import Measured, measure
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


@click.command()
@click.option("--seconds", type=click.FloatRange(0.01), default=3.0, show_default=True, help="Of each measurement.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Measurements of each system.")
@click.option("--size", "sizes", type=click.Choice(list(SIZES)), multiple=True, help="Repeatable.  [default: all]")
@click.option(
    "--only", multiple=True, metavar="NAME",
    help=f"Only systems whose name begins so; repeatable. One of {', '.join(IN_PROCESS)}.  [default: all]",
)  # fmt: skip
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures to this file.")
def inprocess(seconds: float, rounds: int, sizes: tuple[str, ...], only: tuple[str, ...], file: Path | None) -> None:
    """Measure enqueuers: batches a second, and the time between epochs.

    Batches are made beforehand; two workers hand them to a consumer that copies every byte into buffers of its own.
    Each measurement has a fresh process and a warm-up; systems take turns, and ratios are taken within a round.
    """
    for word in only:
        if not any(name.startswith(word) for name in IN_PROCESS):
            raise click.BadParameter(f"no system is named '{word}'; there are {', '.join(IN_PROCESS)}")
    systems = [system for name, system in IN_PROCESS.items() if not only or name.startswith(only)]
    names = [name for name in SIZES if name in sizes or not sizes]
    where, began = host(), time.monotonic()
    click.echo("  ".join(f"{key} {value}" for key, value in where.items()))
    measured: list[Measured] = []
    for name in names:
        found = measure(systems, SIZES[name], seconds, rounds, lambda line: click.echo(line, err=True))
        click.echo(f"\n{rate_table(SIZES[name], found)}")
        measured += found
    if any(entry.system.name.endswith("-epochs") for entry in measured):
        click.echo(f"\n{gap_table(measured)}")
    reached = targets(measured, names)
    click.echo(f"\n{target_table(reached)}")
    click.echo(f"\n{rounds} rounds of {seconds:g} s each, {time.monotonic() - began:.0f} s in all; medians")
    if file is not None:
        options = {"seconds": seconds, "rounds": rounds, "sizes": names, "only": list(only)}
        file.write_text(json.dumps(plain(measured, reached, options) | {"host": where}, indent=2) + "\n")
    if any(entry.trouble.startswith("failed") for entry in measured):
        raise SystemExit(1)


def rate_table(size: Size, measured: Sequence[Measured]) -> str:
    """One size: a row for each system, also for those that could not be measured."""
    entries = [entry for entry in measured if not entry.system.name.endswith("-epochs")]
    processes, threads = find(entries, "processes", size.name), find(entries, "threads", size.name)
    rows = [["", "batches/s", "GB/s", "lowest", "highest", "processes are", "threads are", "consumer's CPU"]]
    for entry in entries:
        rates = [result[RATE] for result in entry.rounds if result is not None]
        if not rates:
            rows.append([entry.system.title, entry.trouble.split(":")[0], *["-"] * 6])
            continue
        rows.append(
            [
                entry.system.title,
                number(middle(entry, RATE)),
                number(middle(entry, "bytes_per_s"), 1e-9, 2),
                number(min(rates)),
                number(max(rates)),
                *(number(ratio(base, entry) if base else None, 1, 2, " x") for base in (processes, threads)),
                number(middle(entry, "client_cpu_us"), 1, 1, " us"),
            ]
        )
    head = f"{size.name}: {size.words}\n{WORKERS} workers, max_queue_size {QUEUE}"
    return "\n".join([head, "", aligned(rows), *_troubles(entries)])


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
    return "\n".join([head, "", aligned(rows), *_troubles(entries)])


def targets(measured: Sequence[Measured], sizes: Sequence[str]) -> list[Target]:
    """All targets that these sizes have, reached or not."""
    found = []
    for size, ours, theirs, least in AGAINST:
        if size in sizes:
            one, other = find(measured, ours, size), find(measured, theirs, size)
            found.append(
                Target(f"{size}: {ours} / {theirs}", least, None, "x", ratio(one, other) if one and other else None)
            )
    if "mid" in sizes:
        one, other = find(measured, "processes-epochs", "mid"), find(measured, "keras-processes-epochs", "mid")
        value = ratio(other, one, GAP) if one and other else None
        found.append(Target("between epochs: keras-processes / processes", LEAST_GAP, None, "x", value))
    return found


def _troubles(entries: Sequence[Measured]) -> list[str]:
    return [f"{entry.system.name}: {entry.trouble}" for entry in entries if entry.trouble]
