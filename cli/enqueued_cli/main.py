"""The command `enqueued`: finds its subcommands when they are asked for, and turns errors into exit codes.

Exit codes: 0 all went well, 1 failure, 2 usage or configuration, 3 the source cannot be loaded, 4 the name or the
address is taken, 5 workers crash in a loop.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from enqueued import __version__
from enqueued.errors import ClientError, EnqueuedError

# name: (where its command is, what `enqueued --help` says of it); a command is imported when it is run, so that help
# and completion do not wait for NumPy and ZeroMQ
COMMANDS = {
    "serve": ("enqueued_cli.serve:serve", "Serve batches to training jobs."),
    "stats": ("enqueued_cli.stats:stats", "Show what a daemon is doing."),
    "groups": ("enqueued_cli.groups:groups", "Show where groups stand, move one or forget one."),
    "reload": ("enqueued_cli.reload:reload", "Load a source again, because its code has changed."),
    "check": ("enqueued_cli.check:check", "Load a source here, make some batches, and say what they are."),
    "verify": ("enqueued_cli.verify:verify", "Prove that each batch was delivered as often as promised."),
    "config": ("enqueued_cli.config:config", "Look at settings."),
    "completion": ("enqueued_cli.completion:completion", "Print the script that completes commands in a shell."),
}

INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or suggest the nearest one."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches  # late: only mistakes need it

            right = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean '{right[0]}'?" if right else ""
            ctx.fail(f"No such command '{args[0]}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, meaning) for name, (_, meaning) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", message="enqueued %(version)s")
def cli() -> None:
    """Feed training jobs from one shared queue of batches."""


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    sys.exit(run())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; errors become one line on standard error and an exit code."""
    try:
        result = cli.main(arguments, prog_name="enqueued", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except EnqueuedError as error:
        # LoadError and SourceError bring the user's own
        if traceback := getattr(error, "traceback", ""):
            click.echo(traceback.rstrip("\n"), err=True)
        complain(str(error), lines=isinstance(error, ClientError))
        return error.exit_code
    except BrokenPipeError:
        # whoever read the output has left, as `head` does; what is still buffered must not be written at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def complain(message: str, *, lines: bool = False) -> None:
    """Say on standard error, on one line unless it is a list of `lines`, what is wrong."""
    name = click.style("enqueued:", fg="red", bold=True) if in_colour() else "enqueued:"
    click.echo(f"{name} {message if lines else ' '.join(message.split())}", err=True)


def in_colour() -> bool:
    """Whether errors may be coloured: on a terminal, and unless NO_COLOR is set (see no-color.org)."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")
