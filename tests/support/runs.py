"""Runners of processes in tests, and the proof that nothing is left of them."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enqueued.enqueuer import nursery, processes
from enqueued.enqueuer.runners import Setup


def children() -> set[int]:
    """The processes that this one has begun and not waited for."""
    return {int(pid) for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}


def living(group: int | None = None) -> set[int]:
    """Every process that has not ended, or those of a process group; for one that has, somebody may still wait."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if state not in "ZX" and group in (None, int(its_group)):
                found.add(int(folder.name))
    return found


def descriptors() -> int:
    """How many descriptors are open."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No process, thread or descriptor stays behind, and the nursery is none either once it is closed."""
    nursery.close()
    before = children(), descriptors(), threading.active_count()
    yield
    nursery.close()
    assert (children(), descriptors(), threading.active_count()) == before


class Run:
    """A runner over a sequence; a context manager."""

    def __init__(self, sequence: Any, workers: int = 2, max_queue_size: int = 10, *, shuffle: bool = False) -> None:
        self.runner = processes.ordered(sequence, Setup.of(workers, max_queue_size, shuffle))

    def __enter__(self) -> processes.ProcessRunner:
        return self.runner

    def __exit__(self, *_: object) -> None:
        self.runner.stop(None)


def take(runner: processes.ProcessRunner, count: int) -> list[Any]:
    """The next batches."""
    return [runner.take() for _ in range(count)]
