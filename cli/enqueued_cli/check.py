"""``enqueued check``: runs a source here, in this process, to see whether it loads and what it makes."""

from __future__ import annotations

import os
from typing import Any

import click

from enqueued.settings import StreamSettings
from enqueued_cli.options import SettingsCommand, resolved, settings_options


class Position(click.ParamType[tuple[int, int]]):
    """A position as users see it in errors: ``EPOCH:INDEX``."""

    name = "position"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Read ``3:117`` as epoch 3, batch 117."""
        epoch, colon, index = str(value).partition(":")
        if not colon or not epoch.isdecimal() or not index.isdecimal():
            self.fail(f"{value!r} is not EPOCH:INDEX, such as 3:117.", param, ctx)
        return int(epoch), int(index)


@click.command(cls=SettingsCommand)
@click.option("-n", "--batches", type=click.IntRange(1), metavar="N", help="How many to make.  [default: 3]")
@click.option(
    "--position",
    type=Position(),
    metavar="EPOCH:INDEX",
    help="Begin with this batch; make no other, unless -n says so.",
)
@click.option("--pdb", is_flag=True, help="When the source raises, look at it in Python's debugger.")
@settings_options(StreamSettings)
def check(batches: int | None, position: tuple[int, int] | None, pdb: bool, **flags: Any) -> None:
    """Load a source here, make some batches, and say what they are.

    \b
        enqueued check --sequence mymod:MySeq
        enqueued check --sequence mymod:MySeq --position 3:117 --pdb

    No daemon is needed or asked.
    """
    settings = resolved(flags)
    from enqueued.source.image import hold_blas_to_one_thread

    # before NumPy is loaded: what is timed here is then what a worker does
    os.environ.update(hold_blas_to_one_thread(os.environ))
    from enqueued_cli.trial import Trial

    epoch, first = position or (0, 0)
    how_many = batches or (1 if position else 3)
    for name, stream in settings.streams.items():
        if flags["stream"] in (None, name):
            trial = Trial(name, stream, click.echo)
            trial.run(epoch, first, how_many, debug=pdb)
