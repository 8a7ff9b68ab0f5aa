"""``enqueued completion``: scripts for the shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands in a shell.

    \b
        eval "$(enqueued completion bash)"        in ~/.bashrc
        eval "$(enqueued completion zsh)"         in ~/.zshrc
        enqueued completion fish > ~/.config/fish/completions/enqueued.fish
    """
    known = get_completion_class(shell)
    assert known is not None  # the argument's choices are those that click knows
    click.echo(known(ctx.find_root().command, {}, "enqueued", "_ENQUEUED_COMPLETE").source())
