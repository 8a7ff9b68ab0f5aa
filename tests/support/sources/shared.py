"""Sources that note when each of their makes begins and ends, in one file for all streams of a daemon."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from gate import enter
from sources.pooled import Sized, note


class Noted:
    """Batch i tells `i`; its make takes `make_s`, then waits at ``{gate}0``, or at ``{gate}1`` if i > 0, if any."""

    def __init__(self, path: str, name: str, length: int = 50, make_s: float = 0.0, gate: str = "") -> None:
        self.path = path
        self.name = name
        self.length = length
        self.make_s = make_s
        self.gate = gate

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        note(self.path, f"+ {self.name} {index}")
        time.sleep(self.make_s)
        if self.gate:
            enter(Path(f"{self.gate}{min(index, 1)}"))
        note(self.path, f"- {self.name} {index}")
        return np.array([index])


class NotedHooked(Noted):
    """The same, with an image for each epoch."""

    def on_epoch_end(self) -> None:
        pass


class NotedLate(Noted):
    """The same, loaded only once `gate` is open; its makes do not wait."""

    def __init__(self, path: str, name: str, gate: str, length: int = 50) -> None:
        super().__init__(path, name, length)
        enter(Path(gate))


class LateSized(Sized):
    """Large batches, loaded only once `gate` is open."""

    def __init__(self, sizes: list[int], length: int, gate: str) -> None:
        super().__init__(sizes, length)
        enter(Path(gate))


def makes(path: Path) -> list[tuple[str, str, int]]:
    """The notes of a file: ``+`` or ``-``, the stream and the index."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(what, name, int(index)) for what, name, index in lines]


def most_at_once(notes: list[tuple[str, str, int]]) -> int:
    """How many makes ran at a time."""
    running = most = 0
    for what, _, _ in notes:
        running += 1 if what == "+" else -1
        most = max(most, running)
    return most


def beside(notes: list[tuple[str, str, int]]) -> int:
    """How many makes began while another ran."""
    running = found = 0
    for what, _, _ in notes:
        found += what == "+" and running > 0
        running += 1 if what == "+" else -1
    return found
