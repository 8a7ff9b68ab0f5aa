"""Sources that open files, draw numbers and prepare themselves in workers."""

from __future__ import annotations

import random
from typing import IO, Any

import numpy as np

from enqueued.source.seeding import WorkerInfo


class Rows:
    """Rows of a text file that stays open."""

    def __init__(self, path: str, header: bool = False) -> None:
        self.file: IO[str] = open(path, encoding="utf-8")  # noqa: SIM115 - that it stays open is the point

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> str:
        self.file.seek(index)
        return self.file.read(1)


class Drawn:
    """Draws its order in the constructor from the process-wide generators."""

    def __init__(self) -> None:
        self.order = [random.random(), float(np.random.random())]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> float:
        return self.order[index]


class Reopening(Drawn):
    """Prepares itself in each worker."""

    def __init__(self) -> None:
        super().__init__()
        self.initialized: list[Any] = []

    def worker_init(self, info: WorkerInfo) -> None:
        self.initialized = ["method", info.id]


def note(source: Reopening, info: WorkerInfo) -> None:
    """A function for ``--worker-init``."""
    source.initialized = ["function", info.id]


def refuse(source: Any, info: WorkerInfo) -> None:
    """A function for ``--worker-init`` that raises."""
    raise OSError("no disk")
