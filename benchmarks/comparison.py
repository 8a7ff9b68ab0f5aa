"""The commands that measure systems side by side: their options, their rounds at each size, and how a run ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from benchmarks.batches import SIZES, Size
from benchmarks.report import host, plain, target_table
from benchmarks.results import Target
from benchmarks.rounds import Measured, measure
from benchmarks.systems import System, chosen


@dataclass(frozen=True)
class Run:
    """What one run measures, `sizes` by their names; `options` says in the file what was asked for."""

    systems: list[System]
    sizes: list[str]
    seconds: float
    rounds: int
    options: dict[str, Any]
    file: Path | None
    where: dict[str, Any] = field(default_factory=host)
    began: float = field(default_factory=time.monotonic)

    def measure(self, table: Callable[[Size, Sequence[Measured]], str]) -> list[Measured]:
        """Every system at every size; the table of a size is shown as soon as it is measured."""
        click.echo("  ".join(f"{key} {value}" for key, value in self.where.items()))
        measured: list[Measured] = []
        for name in self.sizes:
            size = SIZES[name]
            found = measure(self.systems, size, self.seconds, self.rounds, lambda line: click.echo(line, err=True))
            click.echo(f"\n{table(size, found)}")
            measured += found
        return measured

    def conclude(self, measured: Sequence[Measured], reached: Sequence[Target]) -> None:
        """Show the targets and write the file. Raises `SystemExit` when a measurement has failed."""
        click.echo(f"\n{target_table(reached)}")
        took = f"{time.monotonic() - self.began:.0f} s in all"
        click.echo(f"\n{self.rounds} rounds of {self.seconds:g} s each, {took}; medians")
        if self.file is not None:
            self.file.write_text(json.dumps(plain(measured, reached, self.options, self.where), indent=2) + "\n")
        if any(entry.trouble.startswith("failed") for entry in measured):
            raise SystemExit(1)


def comparison(
    option: str, words: str, systems: Mapping[str, System], always: Collection[str] = ()
) -> Callable[[Callable[[Run], None]], click.Command]:
    """Make a function a command that measures `systems`, or those whose names `option` begins, and `always` these."""

    def command(function: Callable[[Run], None]) -> click.Command:
        @click.command(function.__name__, help=function.__doc__)
        @click.option(
            "--seconds", type=click.FloatRange(0.01), default=3.0, show_default=True, help="Of each measurement."
        )
        @click.option(
            "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Measurements of each system."
        )
        @click.option(
            "--size", "sizes", type=click.Choice(list(SIZES)), multiple=True, help="Repeatable.  [default: all]"
        )
        @click.option(
            option,
            "wanted",
            multiple=True,
            metavar="NAME",
            help=f"{words}; repeatable. One of {', '.join(systems)}.  [default: all]",
        )
        @click.option(
            "--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures to this file."
        )
        def run(
            seconds: float, rounds: int, sizes: tuple[str, ...], wanted: tuple[str, ...], file: Path | None
        ) -> None:
            try:
                found = chosen(wanted, systems, always)
            except KeyError as error:
                raise click.BadParameter(f"no system is named {error}; there are {', '.join(systems)}") from None
            names = [name for name in SIZES if name in sizes or not sizes]
            options = {"seconds": seconds, "rounds": rounds, "sizes": names, option.lstrip("-"): list(wanted)}
            function(Run(found, names, seconds, rounds, options, file))

        return run

    return command
