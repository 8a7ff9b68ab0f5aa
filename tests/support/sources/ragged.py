"""Samples of unequal shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Ragged:
    """Sample i has i + 1 numbers."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        return {"x": np.zeros(index + 1)}
