"""``enqueued check``: tries a source, to see whether it loads, what it makes, and whether it makes that again."""

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
@click.option(
    "-n",
    "--batches",
    type=click.IntRange(1),
    metavar="N",
    help="How many to make; with --deterministic, how many of each of two epochs.  [default: 3]",
)
@click.option(
    "--position",
    type=Position(),
    metavar="EPOCH:INDEX",
    help="Begin with this batch; make no other, unless -n says so.",
)
@click.option("--pdb", is_flag=True, help="When the source raises, look at it in Python's debugger.")
@click.option(
    "--deterministic",
    is_flag=True,
    help="Make some batches several times, in fresh processes, and say whether they are the same to the bit.",
)
@settings_options(StreamSettings)
def check(batches: int | None, position: tuple[int, int] | None, pdb: bool, deterministic: bool, **flags: Any) -> int:
    """Load a source here, make some batches, and say what they are.

    \b
        enqueued check --sequence mymod:MySeq
        enqueued check --sequence mymod:MySeq --position 3:117 --pdb
        enqueued check --sequence mymod:MySeq --deterministic

    No daemon is needed or asked. With --deterministic the exit code is 1 when batches differ.
    """
    if pdb and deterministic:
        raise click.UsageError("--pdb is for one batch that is made here; --deterministic makes them elsewhere.")
    settings = resolved(flags)
    from enqueued.source.image import hold_blas_to_one_thread

    # before NumPy is loaded: what is timed here is then what a worker does
    os.environ.update(hold_blas_to_one_thread(os.environ))
    from enqueued_cli.determinism import Determinism
    from enqueued_cli.trial import Trial

    epoch, first = position or (0, 0)
    how_many = batches or (1 if position else 3)
    differing = 0
    for name, stream in settings.streams.items():
        if flags["stream"] in (None, name):
            if deterministic:
                differing += not Determinism(name, stream, click.echo).run(position, how_many)
            else:
                Trial(name, stream, click.echo).run(epoch, first, how_many, debug=pdb)
    return 1 if differing else 0
