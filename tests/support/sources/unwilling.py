"""A source that raises for some of its batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import enqueued

BAD = (3, 7, 8, 19)


class Unwilling:
    """20 batches, of which some raise: always, or, with a `folder` to count in, the first so many `times`."""

    def __init__(self, folder: str = "", times: int = 0) -> None:
        self.folder = folder
        self.times = times

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Any:
        if index in BAD and not (self.folder and self.tried(index) > self.times):
            raise ValueError(f"not {index}")
        return np.int64(index)

    def tried(self, index: int) -> int:
        """How often this position has been tried, this time among them."""
        info = enqueued.get_worker_info()
        assert info is not None
        path = Path(self.folder) / f"{info.epoch}:{index}"
        with path.open("a") as file:
            file.write("x")
        return path.stat().st_size
