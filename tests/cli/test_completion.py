"""Completion in shells."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from enqueued_cli.main import run

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each shell gets a script that asks this command for words."""
    assert run(["completion", shell]) == 0
    assert f"_ENQUEUED_COMPLETE={shell}_complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("enqueued se", "serve"),
        ("enqueued serve --max-q", "--max-queue-size"),
        ("enqueued serve --pool th", "thread"),
        ("enqueued config sh", "show"),
    ],
)
def test_words_are_completed(enqueued: Run, words: str, expected: str) -> None:
    """Commands, flags and choices are offered."""
    number = str(len(words.split()) - 1)
    done = enqueued(_ENQUEUED_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=number)
    assert f"plain,{expected}" in done.stdout.splitlines()
