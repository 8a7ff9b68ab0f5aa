"""A producer in a process of its own, ended when the consumer is done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


@contextmanager
def producing(module: str, *arguments: str) -> Iterator[IO[str]]:
    """Run ``python -m MODULE ARGUMENTS`` meanwhile; gives what it writes, which few have anything for."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        with process.stdout:
            yield process.stdout
    finally:
        process.kill()
        process.wait()
