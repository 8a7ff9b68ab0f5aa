from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from enqueued.source.collate import default_collate
from sources.torch_like import Tensor

Point = namedtuple("Point", ["x", "y"])


@dataclass(frozen=True)
class Sample:
    image: np.ndarray[Any, Any]
    label: int
    names: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        assert isinstance(self.label, int)


class Color(IntEnum):
    RED = 1
    BLUE = 2


class Picture:
    """Something of a third party that NumPy understands."""

    __array_interface__ = np.arange(6, dtype=np.uint8).reshape(2, 3).__array_interface__


@pytest.mark.parametrize(
    ("samples", "dtype"),
    [
        ([1, 2], np.int64),
        ([True, False], np.bool_),
        ([True, 2], np.int64),
        ([1.5, 2.0], np.float64),
        ([1, 2.5], np.float64),
        ([1j, 2.0], np.complex128),
        ([Color.RED, Color.BLUE], np.int64),
        ([np.float32(1), np.float32(2)], np.float32),
        ([np.uint8(1), np.uint8(2)], np.uint8),
        ([np.float64(1), np.float64(2)], np.float64),
        ([np.datetime64("2024-01-01"), np.datetime64("2025-01-01")], "M8[D]"),
        ([np.array(1, np.int16), np.array(2, np.int16)], np.int16),
    ],
)
def test_numbers_become_one_array(samples: list[Any], dtype: Any) -> None:
    """As in torch: ints 64 bits, floats 64 bits, NumPy's scalars their own type."""
    batch = default_collate(samples)
    assert isinstance(batch, np.ndarray)
    assert batch.dtype == dtype
    assert batch.tolist() == [one.tolist() if hasattr(one, "tolist") else one for one in samples]


@given(
    hnp.arrays(
        st.sampled_from([np.dtype(name) for name in ("u1", "f4", ">i4", "M8[s]", "U3", "c8")]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    st.integers(1, 5),
)
def test_arrays_are_stacked(array: np.ndarray[Any, Any], count: int) -> None:
    """What np.stack gives, for any shape and dtype."""
    batch = default_collate([array] * count)
    wanted = np.stack([array] * count)
    assert batch.dtype == array.dtype
    assert batch.shape == wanted.shape
    assert batch.tobytes() == wanted.astype(array.dtype).tobytes()
    assert batch.flags.c_contiguous


def test_arrays_of_different_dtypes_are_promoted() -> None:
    """As np.stack promotes; what cannot be promoted is named."""
    assert default_collate([np.zeros(2, np.uint8), np.zeros(2, np.float32)]).dtype == np.float32
    assert default_collate([np.array(["a"]), np.array(["long"])]).tolist() == [["a"], ["long"]]
    with pytest.raises(ValueError, match=r"sample: dtypes datetime64\[D\] and float64 cannot be stacked"):
        default_collate([np.zeros(2, "M8[D]"), np.zeros(2)])


def test_strided_arrays_are_stacked_in_order() -> None:
    """Transposed, reversed and Fortran-ordered samples give the batch that they show."""
    array = np.arange(12).reshape(3, 4)
    for view in (array.T, array[::-1], np.asfortranarray(array)):
        assert np.array_equal(default_collate([view, view]), np.stack([view, view]))


def test_the_batch_does_not_share_memory_with_a_sample() -> None:
    """Not even for a batch of one."""
    array = np.zeros(3)
    assert not np.shares_memory(default_collate([array]), array)


def test_tensors_become_arrays_without_torch() -> None:
    """Also those that require a gradient, which refuse numpy() until they are detached."""
    batch = default_collate([Tensor(np.full((2, 2), n, np.float32)) for n in range(3)])
    assert type(batch) is np.ndarray
    assert batch.dtype == np.float32
    assert batch[:, 0, 0].tolist() == [0, 1, 2]
    assert default_collate([Tensor(np.array(7)), Tensor(np.array(8))]).tolist() == [7, 8]


def test_tensors_and_arrays_mix() -> None:
    """A dataset may give one for the first sample and the other for the second."""
    assert default_collate([Tensor(np.array(1.0)), np.float64(2), 3]).tolist() == [1.0, 2.0, 3.0]
    assert default_collate([1, np.array(2)]).tolist() == [1, 2]


def test_anything_with_an_array_interface_is_an_array() -> None:
    """Pillow's images come as they look."""
    batch = default_collate([Picture(), Picture()])
    assert batch.shape == (2, 2, 3)
    assert batch.dtype == np.uint8


def test_strings_and_bytes_become_a_list() -> None:
    """As in torch."""
    assert default_collate(["a", "bc"]) == ["a", "bc"]
    assert default_collate([b"a", b""]) == [b"a", b""]
    assert default_collate([np.str_("a"), "b"]) == ["a", "b"]


def test_structures_are_gone_into() -> None:
    """Tuples, lists, dicts, namedtuples and dataclasses keep their kind, at any depth."""
    samples = [
        {"pair": (n, [float(n), str(n)]), "point": Point(n, np.full(2, n)), "whole": Sample(np.full(3, n), n, ("a",))}
        for n in range(2)
    ]
    batch = default_collate(samples)
    assert list(batch) == ["pair", "point", "whole"]
    assert type(batch["pair"]) is tuple
    assert type(batch["pair"][1]) is list
    assert batch["pair"][0].tolist() == [0, 1]
    assert batch["pair"][1][1] == ["0", "1"]
    assert type(batch["point"]) is Point
    assert batch["point"].y.tolist() == [[0, 0], [1, 1]]
    assert type(batch["whole"]) is Sample
    assert batch["whole"].image.shape == (2, 3)
    assert batch["whole"].label.tolist() == [0, 1]  # type: ignore[attr-defined]
    assert batch["whole"].names[0] == ["a", "a"]  # type: ignore[comparison-overlap]


def test_samples_are_not_changed() -> None:
    """A dataset that keeps its samples finds them as they were."""
    sample = Sample(np.zeros(2), 5)
    default_collate([sample, sample])
    assert sample.label == 5


def test_other_mappings_become_dicts() -> None:
    """A batch holds plain structures, in the first sample's order."""
    batch = default_collate([OrderedDict(b=1, a=2), {"a": 3, "b": 4}])
    assert type(batch) is dict
    assert list(batch) == ["b", "a"]
    assert batch["a"].tolist() == [2, 3]


def test_empty_structures_stay_empty() -> None:
    """There is nothing to put together in them."""
    assert default_collate([(), ()]) == ()
    assert default_collate([{}, {}]) == {}
    assert default_collate([[], []]) == []


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        (
            [{"image": np.zeros((3, 4))}, {"image": np.zeros((3, 5))}],
            ValueError,
            'sample["image"]: shapes (3, 4) and (3, 5) cannot be stacked; pad them or pass --collate',
        ),
        (
            [(0, [np.zeros(2)]), (1, [np.zeros(3)])],
            ValueError,
            "sample[1][0]: shapes (2,) and (3,) cannot be stacked; pad them or pass --collate",
        ),
        ([1, np.zeros(3)], ValueError, "sample: shapes () and (3,) cannot be stacked; pad them or pass --collate"),
        ([{1: None}], TypeError, "sample[1] is None, which cannot be collated; leave it out or pass --collate"),
        ([Point(1, 2), Point(1, None)], TypeError, "sample.y is None, which cannot be collated; leave it out or pass"),
        (["a", None], TypeError, "sample is None, which cannot"),
        ([np.zeros(2), None], TypeError, "sample is None, which cannot"),
        ([{"x": {1, 2}}], TypeError, 'sample["x"] is of type set, which cannot be collated'),
        ([Decimal(1)], TypeError, "sample is of type Decimal, which cannot be collated"),
        ([1, "a"], TypeError, "sample is of type str, which cannot be collated"),
        (["a", 1], ValueError, "sample: a str and an int do not fit; pass --collate"),
        ([{"a": 1}, {"a": 1, "b": 2}], ValueError, "sample: 'b' is not in every sample; pass --collate"),
        ([{"a": 1}, (1,)], ValueError, "sample: a dict and a tuple do not fit; pass --collate"),
        ([(1, 2), (1, 2, 3)], ValueError, "sample: lengths 2 and 3 do not fit; pass --collate"),
        ([{"n": 2**64}], ValueError, 'sample["n"]: an int does not fit 64 bits; pass --collate'),
        ([Sample(np.zeros(1), 1), (1,)], ValueError, "sample: a Sample and a tuple do not fit"),
        ([], ValueError, "no samples to collate"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(samples: list[Any], error: type[Exception], message: str) -> None:
    """The message says where in the sample, what, and what to do."""
    with pytest.raises(error) as caught:
        default_collate(samples)
    assert str(caught.value).startswith(message)


def test_collating_imports_no_torch() -> None:
    """torch costs seconds and may not be there."""
    code = (
        "import sys; from enqueued.source.collate import default_collate as c; from sources.torch_like import Images; "
        "c([Images()[0], Images()[1]]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30, env={"PYTHONPATH": ":".join(sys.path)})
