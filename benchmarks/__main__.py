"""``python -m benchmarks``."""

from __future__ import annotations

import importlib
import signal
import sys

import click

COMMANDS = ("inprocess", "latency", "pipeline", "plot", "remote", "scaling", "sharing", "soak", "transport")


class Commands(click.Group):
    """The commands of `COMMANDS`, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"benchmarks.{cmd_name}"), cmd_name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Measure enqueued beside its peers."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that what it has started is ended


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
