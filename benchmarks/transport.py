"""``python -m benchmarks transport``: batches a second from one process to another that copies them out."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from benchmarks.batches import SIZES
from benchmarks.report import host, plain, size_table, target_table
from benchmarks.results import targets
from benchmarks.rounds import Measured, measure
from benchmarks.start import help_target
from benchmarks.systems import SYSTEMS, chosen


@click.command()
@click.option("--seconds", type=click.FloatRange(0.01), default=3.0, show_default=True, help="Of each measurement.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Measurements of each system.")
@click.option("--size", "sizes", type=click.Choice(list(SIZES)), multiple=True, help="Repeatable.  [default: all]")
@click.option(
    "--against", multiple=True, metavar="NAME",
    help=f"Only this peer, or those whose name begins so; repeatable. One of {', '.join(SYSTEMS)}.  [default: all]",
)  # fmt: skip
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures to this file.")
def transport(seconds: float, rounds: int, sizes: tuple[str, ...], against: tuple[str, ...], file: Path | None) -> None:
    """Measure how many batches a second come through.

    Batches are made beforehand; one process produces, one copies every byte of each batch into buffers of its own. Each
    measurement has a fresh process and a warm-up; systems take turns, and ratios are taken within a round.
    """
    try:
        systems = chosen(against)
    except KeyError as error:
        raise click.BadParameter(f"no system is named {error}; there are {', '.join(SYSTEMS)}") from None
    names = [name for name in SIZES if name in sizes or not sizes]
    where, began = host(), time.monotonic()
    click.echo("  ".join(f"{key} {value}" for key, value in where.items()))
    measured: list[Measured] = []
    for name in names:
        found = measure(systems, SIZES[name], seconds, rounds, lambda line: click.echo(line, err=True))
        click.echo(f"\n{size_table(SIZES[name], found)}")
        measured += found
    reached = [*targets(measured, names), help_target()]
    click.echo(f"\n{target_table(reached)}")
    click.echo(f"\n{rounds} rounds of {seconds:g} s each, {time.monotonic() - began:.0f} s in all; medians")
    if file is not None:
        options = {"seconds": seconds, "rounds": rounds, "sizes": names, "against": list(against)}
        file.write_text(json.dumps(plain(measured, reached, options) | {"host": where}, indent=2) + "\n")
    if any(entry.trouble.startswith("failed") for entry in measured):
        raise SystemExit(1)
