"""Running the command line: in this process, or as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment of the tests sets must not reach the commands."""
    for name in [*os.environ]:
        if name.startswith("ENQUEUED_"):
            monkeypatch.delenv(name)


@pytest.fixture
def enqueued(tmp_path: Path, _no_settings: None) -> Run:
    """Runs `enqueued` with these arguments as its own process, in an empty folder."""

    def run(*arguments: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "enqueued_cli", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environ},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run
