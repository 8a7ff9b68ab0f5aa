"""``enqueued config``: settings, with where they come from."""

from __future__ import annotations

from typing import Any

import click

from enqueued.settings import DaemonSettings, StreamSettings, listing
from enqueued_cli.main import complain
from enqueued_cli.options import SettingsCommand, resolved, settings_options


@click.group()
def config() -> None:
    """Look at settings."""


@config.command(cls=SettingsCommand)
@settings_options(DaemonSettings, StreamSettings)
def show(**flags: Any) -> None:
    """Print every setting as TOML, with its meaning and where its value comes from.

    \b
        enqueued config show > train.toml         a file to start from
        enqueued config show --config train.toml --workers 4
    """
    settings = resolved(flags, need_source=False)
    for remark in settings.remarks:
        complain(remark)
    click.echo(listing(settings), nl=False)
