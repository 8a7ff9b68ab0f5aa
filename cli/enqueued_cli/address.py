"""The options that say which daemon of this host a command is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def address_options(timeout_s: float) -> Callable[[Command], Command]:
    """Gives a command ``--stream``, ``--endpoint``, ``--name`` and ``--timeout`` with that default."""
    options = (
        click.option("--stream", metavar="NAME", help="The stream that is meant, where the daemon serves several."),
        click.option("--endpoint", metavar="ADDRESS", help="The daemon to ask.  [default: the one on this host]"),
        click.option("--name", metavar="NAME", help="Its name.  [default: $ENQUEUED_NAME, or default]"),
        click.option(
            "--timeout",
            type=click.FloatRange(0.05),
            default=timeout_s,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for it.",
        ),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
