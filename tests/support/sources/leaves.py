"""A source whose batches hold a leaf of every kind."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import numpy as np

Point = collections.namedtuple("Point", ["x", "y"])


@dataclasses.dataclass
class Sample:
    """A dataclass in a batch."""

    image: Any
    name: str


class Everything:
    """Six batches; some leaves tell the index."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        return {
            "values": [None, True, index, 2**64 - 1, -(2**70), 0.5, 1 - 2j, "é", b"\xff"],
            "long": ("x" * 500 + "\udcff", b"y" * 500),
            "scalars": [np.float32(1.5), np.str_("a"), np.bytes_(b"b"), np.datetime64("2020-01-01", "D")],
            "arrays": [
                np.array([index, -2], ">i2"),
                np.array([1, 2], "<m8[25s]"),
                np.array([(1, (2.0, [[3, 4]]))], [("a", "i1"), ("b", [("c", "<f8"), ("d", "<u2", (1, 2))])]),
                np.array(["a", "bc"], "<U2"),
                np.array(["x", None, "yz"], np.dtypes.StringDType(na_object=None)),
            ],
            "records": (Point(index, ()), Sample([], "n")),
            1: (),
            b"k": {},
            None: [],
        }
