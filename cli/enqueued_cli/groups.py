"""``enqueued groups``: where groups stand, and how one is moved or forgotten."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from enqueued_cli.address import address_options
from enqueued_cli.check import Position
from enqueued_cli.table import aligned, count, lag

TITLES = ["STREAM", "GROUP", "KIND", "AT", "MEMBERS", "LAG", "LEASES", "WAITS FOR"]
TIMEOUT_S = 5.0


@click.group(invoke_without_command=True)
@address_options(TIMEOUT_S)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON, a list of groups.")
@click.pass_context
def groups(
    context: click.Context,
    stream: str | None,
    endpoint: str | None,
    name: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Show where groups stand, move one or forget one.

    \b
        enqueued groups --stream train
        enqueued groups reset sweep --to 3:117
        enqueued groups rm sweep

    Only the daemon's own user and root are answered, on its own host.
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError("--json is for the list of groups alone.")
        given = {"stream": stream, "endpoint": endpoint, "name": name, "timeout": timeout}
        context.default_map = {context.invoked_subcommand: {key: value for key, value in given.items() if value}}
        return
    from enqueued.client.control import Control  # late: help does not need msgpack and ZeroMQ

    with Control(endpoint, timeout, name=name) as control:
        rows = control.groups(stream or control.stream)
    click.echo(json.dumps(rows) if as_json else table(rows))


@groups.command()
@click.argument("group", metavar="NAME")
@click.option("--to", type=Position(), required=True, metavar="EPOCH:INDEX", help="The position that it is given next.")
@address_options(TIMEOUT_S)
def reset(
    group: str, to: tuple[int, int], stream: str | None, endpoint: str | None, name: str | None, timeout: float
) -> None:
    """Have a group go on at another position; its clients come back there by themselves."""
    from enqueued.client.control import Control  # late, as above
    from enqueued.wire.control import RESET, Request

    with Control(endpoint, timeout, name=name) as control:
        done = control.ask(Request(RESET, stream or control.stream, group, *to))
    members = f", and its {count(done['members'], 'member')} with it" if done["members"] else ""
    click.echo(f"{done['stream']}: group {group!r} goes on at {to[0]}:{to[1]}{members}")


@groups.command()
@click.argument("group", metavar="NAME")
@address_options(TIMEOUT_S)
def rm(group: str, stream: str | None, endpoint: str | None, name: str | None, timeout: float) -> None:
    """Forget where a group stood; it must have no members."""
    from enqueued.client.control import Control  # late, as above
    from enqueued.wire.control import RM, Request

    with Control(endpoint, timeout, name=name) as control:
        done = control.ask(Request(RM, stream or control.stream, group))
    click.echo(f"{done['stream']}: group {group!r} is forgotten; whoever names it again begins it anew")


def table(rows: list[dict[str, Any]]) -> str:
    """The groups as a table for people."""
    if not rows:
        return "there is no group: no client is connected, and none is remembered"
    return "\n".join(aligned([TITLES, *map(_row, rows)]))


def _row(row: Mapping[str, Any]) -> list[str]:
    name = "(private)" if row["kind"] == "private" else row["name"]
    ranked = row["kind"] == "ranks" and not row["remembered"]
    kind = f"rank {row['rank']} of {row['world_size']}" if ranked else row["kind"]
    at = f"{row['epoch']}:{row['index']}"
    if row["remembered"]:
        return [row["stream"], name, kind, at, "no member, remembered", "-", str(row["leases"]), ""]
    return [row["stream"], name, kind, at, str(row["members"]), lag(row["lag"]), str(row["leases"]), row["waits_for"]]
