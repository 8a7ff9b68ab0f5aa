"""A program that a benchmark has started, and talks with in lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click

ROOT = Path(__file__).resolve().parents[1]


class Failed(click.ClickException):
    """A measurement came to nothing; the text says why."""


@dataclass(frozen=True)
class Program:
    """Its standard input and output."""

    to: IO[str]
    said: IO[str]
    errors: Path

    def tell(self, what: Any) -> None:
        """What it needs to know."""
        self.to.write(json.dumps(what) + "\n")
        self.to.flush()

    def hear(self) -> Any:
        """What it says next. Raises `Failed`, with its last word on standard error, when it has ended."""
        line = self.said.readline()
        if not line:
            wrong = self.errors.read_text().strip().splitlines()
            raise Failed(wrong[-1] if wrong else "it has ended, or took too long")
        return json.loads(line)


@contextmanager
def program(module: str, *arguments: str, limit_s: float, **environ: str) -> Iterator[Program]:
    """``python -m MODULE ARGUMENTS``; killed after the limit, and at the end with all that it has started."""
    quiet = {"PYTHONWARNINGS": "ignore::UserWarning"}  # a loader warns where there are fewer cores than workers
    with tempfile.NamedTemporaryFile("w", prefix="enq-bench-") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **quiet, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # so that all that it started can be ended with it
        )
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(limit_s, end, (process,))
        timer.start()
        try:
            yield Program(process.stdin, process.stdout, Path(errors.name))
        finally:
            timer.cancel()
            end(process)
            process.stdout.close()
            with contextlib.suppress(BrokenPipeError):  # what it was told last it did not read
                process.stdin.close()


def tell(what: Any) -> None:
    """A line for who has started this program."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process that has a session of its own, and all that it has started in it."""
    with contextlib.suppress(ProcessLookupError):  # as it should be: nothing is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
