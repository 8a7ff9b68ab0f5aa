"""``enqueued serve``: the daemon, in the foreground."""

from __future__ import annotations

from typing import Any

import click

from enqueued.settings import DaemonSettings, StreamSettings
from enqueued_cli.main import complain
from enqueued_cli.options import EPILOG, SettingsCommand, resolved, settings_options


@click.command(cls=SettingsCommand, epilog=EPILOG)
@settings_options(DaemonSettings, StreamSettings)
def serve(**flags: Any) -> int:
    """Serve batches to training jobs.

    \b
        enqueued serve --sequence mymod:MySeq --arg path=/data --workers 8
        enqueued serve --config train.toml

    Ctrl-C or SIGTERM lets clients finish and stops; a second one stops at once.
    """
    settings = resolved(flags)
    for remark in settings.remarks:
        complain(remark)
    from enqueued.server.daemon import serve as run  # late: flags are wrong more often than not, and this is slow

    return run(settings)
