"""The commands that measure systems side by side: their options, their rounds at each size, and how a run ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from benchmarks.batches import SIZES, Size
from benchmarks.report import host, plain, target_table
from benchmarks.results import Target
from benchmarks.rounds import Measured, Once, fresh, measure
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
    known: Mapping[str, Size]
    where: dict[str, Any] = field(default_factory=host)
    began: float = field(default_factory=time.monotonic)

    def measure(self, table: Callable[[Size, Sequence[Measured]], str], once: Once = fresh) -> list[Measured]:
        """Every system at every size; the table of a size is shown as soon as it is measured."""
        click.echo("  ".join(f"{key} {value}" for key, value in self.where.items()))
        measured: list[Measured] = []
        for name in self.sizes:
            size = self.known[name]
            found = measure(self.systems, size, self.seconds, self.rounds, _progress, once)
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


Option = Callable[[Callable[..., None]], Callable[..., None]]
"""A click option for a function."""


def _progress(line: str) -> None:
    click.echo(line, err=True)


def peers(option: str, words: str, systems: Mapping[str, System], always: Collection[str] = ()) -> Option:
    """An option for `systems`: a list of them, or of those whose names it begins, and `always` these."""

    def listed(ctx: click.Context, param: click.Parameter, words: tuple[str, ...]) -> list[System]:
        try:
            return chosen(words, systems, always)
        except KeyError as error:
            raise click.BadParameter(f"no system is named {error}; there are {', '.join(systems)}") from None

    told = f"{words}; repeatable. One of {', '.join(systems)}.  [default: all]"
    return click.option(option, "systems", multiple=True, metavar="NAME", help=told, callback=listed)


def comparison(
    option: str,
    words: str,
    systems: Mapping[str, System],
    always: Collection[str] = (),
    sizes: Mapping[str, Size] = SIZES,
    more: Iterable[Option] = (),
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function a command that measures `systems`, or those whose names `option` begins, and `always` these.

    It gets the `Run`, and by name what its own click options, `more`, have given.
    """

    def command(function: Callable[..., None]) -> click.Command:
        def run(
            systems: list[System],
            seconds: float,
            rounds: int,
            file: Path | None,
            names: tuple[str, ...] = (),
            **given: Any,
        ) -> None:
            asked = [name for name in sizes if name in names or not names]
            options = {"seconds": seconds, "rounds": rounds, "sizes": asked, **given}
            options["systems"] = [system.name for system in systems]
            function(Run(systems, asked, seconds, rounds, options, file, sizes), **given)

        by_size = click.option(
            "--size", "names", type=click.Choice(list(sizes)), multiple=True, help="Repeatable.  [default: all]"
        )
        every: list[Option] = [
            click.option(
                "--seconds", type=click.FloatRange(0.01), default=3.0, show_default=True, help="Of each measurement."
            ),
            click.option(
                "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Measurements of each system."
            ),
            *([by_size] if len(sizes) > 1 else []),
            *more,
            peers(option, words, systems, always),
            click.option(
                "--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures to a file."
            ),
        ]
        made: Callable[..., None] = run
        for add in reversed(every):
            made = add(made)
        return click.command(function.__name__, help=function.__doc__)(made)

    return command
