"""``enqueued reload``: has a daemon take the source's new code."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enqueued.errors import EnqueuedError, LoadError
from enqueued_cli.address import address_options

if TYPE_CHECKING:
    from enqueued.client.control import Control

PAUSE_S = 0.1


@click.command()
@click.option("--now", is_flag=True, help="Take the new code with the next batch instead of the next epoch.")
@address_options(60.0)
def reload(now: bool, stream: str | None, endpoint: str | None, name: str | None, timeout: float) -> None:
    """Load a source again, because its code has changed.

    \b
        enqueued reload
        enqueued reload --stream train --now

    The command waits until the new code is loaded. When it cannot be, the exit code is 3, the daemon's log
    has the traceback, and the old code goes on. SIGHUP to the daemon does the same for every stream.
    """
    from enqueued.client.control import Control  # late: help does not need msgpack and ZeroMQ
    from enqueued.wire.control import RELOAD, Request

    deadline = time.monotonic() + timeout
    with Control(endpoint, timeout, name=name) as control:
        stream = stream or control.stream
        rows = control.ask(Request(RELOAD, stream, at_once=now))
        for row in rows:
            what = f"not loaded again: {row['unfit']}" if row["unfit"] else f"loading {Path(row['file']).name} again"
            click.echo(f"{row['stream']}: {what}")
        rows = [row for row in _ended(control, stream, deadline) if not row["unfit"]]
    for row in rows:
        if row["loaded"]:
            click.echo(f"{row['stream']}: {row['loaded']}")
    if failed := [f"{row['stream']}: {row['error']}" for row in rows if row["error"]]:
        raise LoadError("; ".join(failed) + "; the old code goes on, and the daemon's log has the traceback")
    if late := [row["stream"] for row in rows if row["loading"]]:
        raise EnqueuedError(
            f"{', '.join(late)}: not loaded within {timeout:g} s (--timeout); the daemon goes on trying, and its log "
            "says how that ends"
        )


def _ended(control: Control, stream: str | None, deadline: float) -> list[dict[str, Any]]:
    """How it stands when all are loaded, or have failed, or the deadline has come."""
    from enqueued.wire.control import LOADING, Request

    while True:
        rows: list[dict[str, Any]] = control.ask(Request(LOADING, stream))
        if not any(row["loading"] for row in rows) or time.monotonic() >= deadline:
            return rows
        time.sleep(PAUSE_S)
