"""The format does not change unnoticed: encoded batches kept as hex."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from enqueued.codec.decode import decode

GOLDEN = Path(__file__).parent / "golden"
Point = collections.namedtuple("Point", ["x", "y"])


@dataclasses.dataclass
class Sample:
    """A dataclass in a kept batch."""

    image: Any
    name: str


PAIR = (np.arange(6, dtype="<f4").reshape(2, 3), np.array([7, 8], "<i8"))
EVERYTHING = {
    "values": [None, True, -1, 2**64 - 1, -(2**64), 0.1, 1 - 2j, "é", b"\xff", "long" * 40, b"long" * 40],
    "scalars": [np.float32(1.5), np.str_("a"), np.bytes_(b"b\0"), np.datetime64("2020-01-01", "D"), np.bool_(True)],
    "arrays": [
        np.array([1, -2], ">i2"),
        np.array(["a", "bc"], "<U2"),
        np.array([1, 2], "<m8[25s]"),
        np.array([(1, 2.0, [3, 4])], [("a", "i1"), ("b", "<f8"), ("c", "<u2", (2,))]),
        np.array([1.0, 0.5], ml_dtypes.bfloat16),
        np.array(["x", None, "yz"], np.dtypes.StringDType(na_object=None)),
        np.zeros((0, 2), "|b1"),
    ],
    "records": (Point(1, PAIR[1]), Sample(PAIR[0], "n")),
    1: (),
    b"k": {None: [], True: {}},
}


@pytest.mark.parametrize(("name", "batch"), [("pair", PAIR), ("everything", EVERYTHING)])
def test_kept_bytes_are_what_is_written_and_read(
    name: str, batch: Any, encoded: Callable[[Any], np.ndarray[Any, Any]], same: Callable[[Any, Any], bool]
) -> None:
    """A batch is written as it was when the format was set, and what was kept is read as it was meant.

    When this fails the format has changed: that takes a new FORMAT_VERSION, not a new golden file.
    """
    kept = bytes.fromhex((GOLDEN / f"{name}.hex").read_text())
    assert encoded(batch).tobytes() == kept
    assert same(decode(np.frombuffer(kept, np.uint8)), batch)
