"""What goes in comes out, to the bit."""

from __future__ import annotations

import collections
import enum
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enqueued.codec.decode import decode
from enqueued.codec.encode import JOINED_BYTES, encode

Root = np.ndarray[Any, Any]
Encode = Callable[[Any], Root]
Same = Callable[[Any, Any], bool]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_nested_batches_come_back_equal(
    data: st.DataObject, batches: st.SearchStrategy[Any], encoded: Encode, same: Same
) -> None:
    """Any batch survives the way there and back in structure, types and bits, also the second time."""
    batch = data.draw(batches)
    for _ in range(2):
        assert same(batch, decode(encoded(batch)))


def test_every_dtype_comes_back(dtypes: list[Any], encoded: Encode, same: Same) -> None:
    """Each kind of dtype keeps its identity and its bytes, contiguous or not, small or large."""
    for dtype in dtypes:
        for count in (0, 3, 2 * JOINED_BYTES // max(1, dtype.itemsize)):
            array = np.ndarray(
                (2, count), dtype, np.random.default_rng(1).bytes(2 * count * dtype.itemsize) or bytearray(1)
            )
            if dtype == np.bool_:
                array = array.view("u1") > 100
            for view in (
                array,
                array.T,
                array[:, ::-2],
                np.asfortranarray(array),
                np.broadcast_to(array, (2, 2, count)),
            ):
                back = decode(encoded((view, 1)))[0]
                assert same(view, back), dtype
                assert back.flags.c_contiguous


@pytest.mark.parametrize(
    "batch",
    [
        -0.0,
        float("nan"),
        float("-inf"),
        complex(float("nan"), -0.0),
        2**64 - 1,
        2**64,
        -(2**63) - 1,
        10**5000,
        -(7**20000),
        True,
        "\udcff/file",
        "é" * 5000,
        b"\0" * 100_000,
        "",
        b"",
        (),
        [],
        {},
        {1: 1, None: 2, b"b": 3, "s": True},
        {True: 1.0},
        {1: 1.0},
        np.array("x\0y", dtype=np.dtypes.StringDType()),
        np.zeros((0, 3), dtype=np.dtypes.StringDType()),
        np.array([["a", np.nan], ["", "ü" * 99]], dtype=np.dtypes.StringDType(na_object=np.nan)).T,
        np.array(["a", "n/a"], dtype=np.dtypes.StringDType(na_object="n/a", coerce=False)),
        np.zeros((0, 2**39)),
        np.zeros((1,) * 32),
        np.zeros(3, dtype=[]),
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_odd_values_come_back(batch: Any, encoded: Encode, same: Same) -> None:
    """Values at the edges of their types are neither rounded nor merged with what Python calls equal."""
    back = decode(encoded(batch))
    if isinstance(batch, np.ndarray) and batch.dtype.kind == "T":
        assert back.shape == batch.shape
        assert back.dtype == batch.dtype or isinstance(batch.dtype.na_object, float)
        assert list(map(str, back.reshape(-1).tolist())) == list(map(str, batch.reshape(-1).tolist()))
    else:
        assert same(batch, back)


def test_values_that_python_calls_equal_are_told_apart(encoded: Encode, same: Same) -> None:
    """The layouts that the encoder remembers never mix up 1, 1.0 and True, or 0.0 and -0.0, or keys like them."""
    for batch in ([1], [True], [1.0], [1 + 0j], [0.0], [-0.0], {1: 0}, {True: 0}, ("1",), (b"1",), (np.str_("1"),)):
        assert same(batch, decode(encoded(batch)))


def test_subclasses_come_back_as_what_they_extend(encoded: Encode, same: Same) -> None:
    """A subclass or another mapping is sent as the plain type, which any reader has."""

    class Color(enum.IntEnum):
        RED = 3

    class Name(enum.StrEnum):
        X = "x"

    matrix = np.arange(4).reshape(2, 2).view(np.recarray)
    batch = [
        collections.OrderedDict(a=Color.RED),
        collections.defaultdict(list, b=[1]),
        MappingProxyType({Name.X: 1}),
        matrix,
    ]
    assert same(decode(encoded(batch)), [{"a": 3}, {"b": [1]}, {"x": 1}, np.arange(4).reshape(2, 2)])


def test_a_record_array_comes_back_as_a_structured_array(encoded: Encode, same: Same) -> None:
    """The fields of a record array are kept; its class, which belongs to NumPy's attic, is not."""
    records = np.rec.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")])
    back = decode(encoded(records))
    assert back.dtype.type is np.void
    assert back["b"].tolist() == [2.0, 4.0]


def test_the_padding_of_structured_arrays_is_copied(encoded: Encode) -> None:
    """Bytes between fields are those of the array, never what lay in the memory before."""
    dtype = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    raw = np.frombuffer(bytes(range(64)), dtype)[::-2]
    assert decode(encoded(raw)).view("u1").tolist() == [*range(48, 64), *range(16, 32)]


def test_a_large_batch_is_written_at_its_place_only(encoded: Encode) -> None:
    """Nothing is written past `nbytes` of a larger target, in a small batch and in a large one."""
    for size in (10, 100_000):
        item = encode((np.zeros(size, "u1"), np.zeros(3)))
        target = bytearray(b"\xaa" * (item.nbytes + 100))
        item.write_into(memoryview(target))
        assert target[item.nbytes :] == b"\xaa" * 100
        assert decode(np.frombuffer(target, np.uint8))[0].size == size


def test_leaves_are_aligned(encoded: Encode) -> None:
    """Every leaf begins at a multiple of 64 bytes."""
    root = encoded((np.zeros(3, "u1"), [np.zeros(5), {"k": np.float32(2)}], np.zeros((), "i2")))
    first, (second, _), last = decode(root)
    for leaf in (first, second, last):
        assert (leaf.ctypes.data - root.ctypes.data) % 64 == 0


def test_arrays_are_writable_where_the_root_is(encoded: Encode) -> None:
    """A leaf of a writable root may be changed in place, and one of a read-only root says no."""
    root = encoded(np.zeros(3))
    decode(root)[0] = 5
    assert decode(root).tolist() == [5, 0, 0]
    frozen = np.frombuffer(root.tobytes(), np.uint8)
    with pytest.raises(ValueError, match="read-only"):
        decode(frozen)[0] = 1


def test_lists_and_dicts_are_fresh_in_each_batch(encoded: Encode) -> None:
    """Two batches with equal headers share no container that a trainer could change."""
    root = encoded({"a": [1], "b": {}})
    decode(root)["a"].append(2)
    decode(root)["b"]["x"] = 1
    assert decode(root) == {"a": [1], "b": {}}
