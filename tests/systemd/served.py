"""What the daemon in the sandbox serves."""

from __future__ import annotations

import numpy as np


class Counting:
    """Twelve batches of 1 MiB, each filled with its own number; large enough to travel in shared memory."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full((256, 1024), index, np.float32), np.arange(16) * index


class Broken:
    """A source that cannot be built."""

    def __init__(self) -> None:
        raise RuntimeError("the data set is not there")
