"""A batch as lines."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import numpy as np

from enqueued_cli.structure import structure

Pair = namedtuple("Pair", ["left", "right"])


@dataclass
class Sample:
    x: object


def test_every_part_has_its_path() -> None:
    """Paths read as Python would write them, which is also how errors name parts."""
    batch = ({"x": np.zeros((2, 3), "f4"), 1: "text"}, Pair(1, [2.5]), Sample(None))
    assert [line.split()[:2] for line in structure(batch)] == [
        ["batch", "tuple"],
        ["batch[0]", "dict"],
        ['batch[0]["x"]', "float32"],
        ["batch[0][1]", "str"],
        ["batch[1]", "Pair"],
        ["batch[1].left", "int"],
        ["batch[1].right", "list"],
        ["batch[1].right[0]", "float"],
        ["batch[2]", "Sample"],
        ["batch[2].x", "NoneType"],
    ]


def test_arrays_come_with_shape_and_size() -> None:
    """An array is told by dtype, shape and bytes."""
    assert structure(np.zeros((4, 256), "f4")) == ["batch  float32  (4, 256)  4.0 KiB"]


def test_long_lists_are_cut() -> None:
    """Of many parts some are shown, and how many there are."""
    lines = structure(["a"] * 64)
    assert len(lines) == 5
    assert lines[-1].split() == ["batch[...]", "61", "more"]


def test_long_values_are_cut() -> None:
    """A long text does not fill the screen."""
    assert len(structure("x" * 1000)[0]) < 60
