"""``enqueued stats``: what a daemon is doing, once or again and again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from itertools import count as counting
from typing import Any

import click

from enqueued.errors import ConnectTimeout
from enqueued.stats import DaemonStats
from enqueued_cli.snapshot import read
from enqueued_cli.table import table

CLEAR = "\x1b[H\x1b[2J"  # the cursor home, and the screen empty


@click.command()
@click.option("--endpoint", metavar="ADDRESS", help="The daemon to ask.  [default: the one on this host]")
@click.option("--name", metavar="NAME", help="The name of the daemon to ask.  [default: $ENQUEUED_NAME, or default]")
@click.option("-w", "--watch", is_flag=True, help="Ask again and again; rates are between two answers.")
@click.option(
    "-i", "--interval", type=click.FloatRange(0.05), default=1.0, metavar="SECONDS", help="Time between two answers."
)
@click.option("-n", "--count", type=click.IntRange(1), metavar="N", help="Stop after N answers (implies --watch).")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each answer.")
@click.option(
    "--timeout", type=click.FloatRange(0.05), default=5.0, metavar="SECONDS", help="How long to wait for one."
)
def stats(
    endpoint: str | None,
    name: str | None,
    watch: bool,
    interval: float,
    count: int | None,
    as_json: bool,
    timeout: float,
) -> None:
    """Show what a daemon is doing: its workers, queues, groups and clients.

    \b
        enqueued stats --watch
        enqueued stats --json | jq .streams[0].ready
    """
    times = count or (None if watch else 1)
    clear = CLEAR if times != 1 and not as_json and sys.stdout.isatty() else ""
    before: DaemonStats | None = None
    try:
        for number, plain in enumerate(_answers(endpoint, name, timeout, interval, times)):
            if as_json:
                click.echo(json.dumps(plain))
                continue
            now = read(plain)
            gap = "\n" if number and not clear else ""
            click.echo(f"{clear}{gap}{table(now, before)}")
            before = now
    except KeyboardInterrupt:
        if times == 1:
            raise  # nothing was shown; else this is how watching ends


def _answers(
    endpoint: str | None, name: str | None, timeout_s: float, interval_s: float, times: int | None
) -> Iterator[dict[str, Any]]:
    from enqueued.client.query import query  # late: help does not need ZeroMQ

    for number in counting(1):
        started = time.monotonic()
        try:
            yield query("stats", endpoint, timeout_s, name=name)
        except ConnectTimeout as error:
            if number == 1 or times is not None:
                raise
            click.echo(f"{error}", err=True)  # it may be restarted: that is when one wants to watch
        if number == times:
            return
        time.sleep(max(0.0, interval_s - (time.monotonic() - started)))
