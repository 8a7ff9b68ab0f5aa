"""A producer in a process of its own, ended when the consumer is done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def producing(module: str, *arguments: str) -> Iterator[None]:
    """Run ``python -m MODULE ARGUMENTS`` meanwhile."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()
