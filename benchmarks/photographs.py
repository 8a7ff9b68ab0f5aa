"""The photographs of examples/photos.py, in epochs that no measurement reaches the end of."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.batches import ENDLESS, Size

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SOURCE = "benchmarks.photographs:Again"
BATCH = 16
PHOTOS = Size("photos", (BATCH, 224, 224, 3), "float32", queue=4, prefetch=2)
"""A batch as it is made; and what `pipeline` has for two workers."""


def filled(folder: str, count: int) -> None:
    """Fill a folder with JPEGs."""
    command = [sys.executable, str(EXAMPLES / "photos.py"), "make", folder, "--count", str(count)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Again:
    """A Sequence that decodes and crops the photographs of a folder again and again, from batch `first` on."""

    def __init__(self, folder: str, first: int = 0) -> None:
        if str(EXAMPLES) not in sys.path:
            sys.path.append(str(EXAMPLES))
        self._photos = importlib.import_module("photos").Photos(folder, batch_size=BATCH)
        self._first = first

    def __len__(self) -> int:
        """More than anybody takes."""
        return ENDLESS

    def __getitem__(self, index: int) -> Any:
        """One of them, cropped otherwise each time."""
        return self._photos[(self._first + index) % len(self._photos)]
