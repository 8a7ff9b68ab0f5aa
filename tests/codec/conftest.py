"""Batches of every kind, and what it means that two are the same."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st

from enqueued.codec.encode import encode

Batches = st.SearchStrategy[Any]
Same = Callable[[Any, Any], bool]
Encode = Callable[[Any], np.ndarray[Any, Any]]

Pair = collections.namedtuple("Pair", ["x", "y"])
Renamed = collections.namedtuple("Renamed", ["x", "class"], rename=True)  # an unfit name is the point


@dataclasses.dataclass
class Sample:
    """A dataclass as a source may give it."""

    image: Any
    _hidden: Any = None


DTYPES = [
    *["?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d", "g", "F", "D", "G"],
    *[">i2", ">u4", ">i8", ">f2", ">f4", ">f8", ">c8", ">c16", ">f16"],
    *["<M8", "<M8[ns]", ">M8[D]", "<m8[25s]", ">m8[us]", "S1", "S7", "U1", ">U5", "V1", "V10", "S0", "U0"],
    np.dtype([("a", "<i2"), ("b", ">f8")]),
    np.dtype([("a", "i1"), ("b", "f8")], align=True),
    np.dtype([("p", "f4", (2, 3)), ("q", [("r", "S3"), ("s", "u1", (2,))])]),
    np.dtype({"names": ["b", "a"], "formats": ["i4", "i2"], "offsets": [8, 1], "itemsize": 20}),
    np.dtype([("half", ml_dtypes.bfloat16)]),
    *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.int4, ml_dtypes.uint4),
]


@st.composite
def _arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    size = dtype.itemsize * int(np.prod(shape, dtype=int))
    bits = np.random.default_rng(draw(st.integers(0, 9))).bytes(size)
    array = np.ndarray(shape, dtype, bytearray(bits))
    if dtype == np.bool_:
        array = array.view("u1") > 100
    for axis in range(array.ndim):
        step = draw(st.sampled_from([1, 1, 2, -1, -2]))
        array = array[(slice(None),) * axis + (slice(None, None, step),)]
    if draw(st.booleans()):
        array = array.T
    if draw(st.integers(0, 5)) == 0:
        array = np.broadcast_to(array, (3, *array.shape))
    return array


def _values() -> Batches:
    names = st.text(max_size=5)
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(10**700), 10**700),
        st.floats(),
        st.complex_numbers(),
        st.text(),
        st.text(st.characters(exclude_categories=[]), max_size=300),
        st.binary(max_size=300),
        st.sampled_from(
            [np.float32(-0.0), np.int8(-3), np.bool_(True), np.datetime64("2020-01-01", "ns"), np.str_("a\0")]
        ),
        st.sampled_from([np.longdouble("1.1"), np.bytes_(b"x\0"), np.void(b"abc"), ml_dtypes.bfloat16(1.5)]),
        st.sampled_from([np.zeros((), "i4,f8")[()], np.complex64(complex(0.0, -0.0)), np.timedelta64("NaT")]),
        st.lists(names, max_size=4).map(lambda texts: np.array(texts, dtype=np.dtypes.StringDType())),
        st.lists(st.one_of(st.none(), names), max_size=4).map(
            lambda texts: np.array(texts, dtype=np.dtypes.StringDType(na_object=None))
        ),
    )


def _grow(children: Batches) -> Batches:
    # rows of numbers would be ragged lists, which are refused: lists of numbers end with a text
    keys = st.one_of(st.text(max_size=4), st.integers(-(2**63), 2**64 - 1), st.binary(max_size=4), st.none())
    return st.one_of(
        st.lists(children, max_size=4).map(tuple),
        st.lists(children, max_size=4).map(lambda items: [*items, ""]),
        st.dictionaries(keys, children, max_size=4),
        st.tuples(children, children).map(lambda pair: Pair(*pair)),
        st.tuples(children, children).map(lambda pair: Renamed(*pair)),
        st.tuples(children, children).map(lambda pair: Sample(*pair)),
    )


def _same(one: Any, other: Any) -> bool:
    if dataclasses.is_dataclass(one) or hasattr(one, "_fields"):
        if type(one).__name__ != type(other).__name__:
            return False
        if isinstance(one, tuple):
            return one._fields == other._fields and _same(tuple(one), tuple(other))  # type: ignore[attr-defined]
        return _same(vars(one), vars(other))
    if type(one) is not type(other):
        return False
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return _same(list(one), list(other)) and _same(list(one.values()), list(other.values()))
    if isinstance(one, (np.ndarray, np.generic)):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        if one.dtype.kind == "T":
            return bool(one.tolist() == other.tolist())
        return _bits(one) == _bits(other)
    if isinstance(one, (float, complex)):
        return np.array(one).tobytes() == np.array(other).tobytes()
    return bool(one == other)


def _bits(array: Any) -> bytes:
    if isinstance(array, (np.str_, np.bytes_)):
        return repr(array).encode()
    array = np.asarray(array)
    return bytes((array.view(f"V{array.itemsize}") if array.itemsize else array).tobytes())


def _encoded(batch: Any) -> np.ndarray[Any, Any]:
    encoded = encode(batch)
    target = bytearray(encoded.nbytes)
    encoded.write_into(memoryview(target))
    return np.frombuffer(memoryview(target), np.uint8)


@pytest.fixture(scope="session")
def batches() -> Batches:
    """Batches of nested containers of every kind, with leaves of every kind."""
    return st.recursive(st.one_of(_arrays(), _values()), _grow, max_leaves=12)


@pytest.fixture(scope="session")
def arrays() -> Batches:
    """Arrays of every dtype, in every memory order."""
    return _arrays()


@pytest.fixture(scope="session")
def same() -> Same:
    """Whether two batches are equal to the bit, in structure and in types."""
    return _same


@pytest.fixture(scope="session")
def encoded() -> Encode:
    """Encodes a batch into a fresh root array."""
    return _encoded


@pytest.fixture(scope="session")
def dtypes() -> list[Any]:
    """One of each kind of dtype that travels."""
    return [np.dtype(dtype) for dtype in DTYPES]
