"""In which leaf two batches differ, and how."""

from __future__ import annotations

import collections
import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.source.comparison import differences

Point = collections.namedtuple("Point", ["x", "y"])


@dataclasses.dataclass
class Sample:
    """A dataclass in a batch."""

    image: Any
    name: str


def told(one: Any, other: Any) -> list[str]:
    return [str(difference) for difference in differences(one, other)]


def arrays() -> st.SearchStrategy[Any]:
    dtypes = st.sampled_from(
        ["f4", ">f8", "i2", "?", "U3", "S2", "c8", "M8[s]", "g", [("a", "i1"), ("b", ">f8", (2,))]]
    )
    return st.builds(lambda dtype, shape: np.zeros(shape, dtype), dtypes, st.lists(st.integers(0, 3), max_size=3))


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
BATCHES = st.recursive(
    LEAVES | arrays(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.builds(Point, inner, inner)
        | st.builds(Sample, inner, st.text())
    ),
    max_leaves=8,
)


@given(BATCHES)
def test_a_batch_is_equal_to_its_copy(batch: Any) -> None:
    """Of any structure, with NaNs too."""
    assert told(batch, copy.deepcopy(batch)) == []


@given(BATCHES, BATCHES)
def test_of_two_batches_something_can_always_be_told(one: Any, other: Any) -> None:
    """No pair of batches is too odd to be compared, and both directions find as many differences."""
    assert len(told(one, other)) == len(told(other, one))


@given(st.data())
def test_one_bit_is_found_where_it_is(data: st.DataObject) -> None:
    """A single flipped bit of an array is one difference, at its place."""
    one = np.zeros((3, 5), data.draw(st.sampled_from(["f2", "f4", "f8", "i8", "u1", "c16", "M8[ns]"])))
    row, column = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 4))
    other = one.copy()
    bits = other[row, column : column + 1].view(np.uint8)
    bits[data.draw(st.integers(0, bits.size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (only,) = told({"x": [one]}, {"x": [other]})
    assert only.startswith('batch["x"][0]: 1 of 15 ')
    assert f"differ, first at [{row}, {column}]: " in only


def changed(array: Any, place: Any, value: Any) -> Any:
    array = array.copy()
    array[place] = value
    return array


ZEROS = np.zeros((8, 512), "f4")
RECORDS = np.zeros(2, [("a", "i4"), ("b", "f8")])
NAN = np.array(np.nan, "f4")
OTHER_NAN = np.array(0x7FC00001, "u4").view("f4")
TEXTS = np.array(["a", None], np.dtypes.StringDType(na_object=None)) if hasattr(np.dtypes, "StringDType") else ZEROS


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (ZEROS, changed(ZEROS, (0, [17, 18]), 0.31), "batch: 2 of 4096 numbers differ, first at [0, 17]: 0.0 and 0.31"),
        (ZEROS, ZEROS.astype("f8"), "batch: dtype float32 and float64"),
        (ZEROS, ZEROS.astype(">f4"), "batch: dtype float32 and >f4"),
        (ZEROS, ZEROS.T, "batch: shape (8, 512) and (512, 8)"),
        (ZEROS, changed(ZEROS, (0, 0), -0.0), "batch: 1 of 4096 numbers differ, first at [0, 0]: 0.0 and -0.0"),
        (ZEROS, None, "batch: an array and None"),
        (NAN, OTHER_NAN, "batch: nan (0x7fc00000) and nan (0x7fc00001)"),
        (RECORDS, changed(RECORDS, 1, (0, 2)), 'batch["b"]: 1 of 2 numbers differ, first at [1]: 0.0 and 2.0'),
        (np.array(["a", "b"]), np.array(["a", "c"]), "batch: 1 of 2 texts differ, first at [1]: 'b' and 'c'"),
        (np.float32(1), np.float32(2), "batch: 1.0 and 2.0"),
        (np.float32(1), np.float64(1), "batch: a NumPy float32 and a NumPy float64"),
        (np.str_("a"), np.str_("bb"), "batch: 'a' and 'bb'"),
        (1, True, "batch: an int and a bool"),
        (0.0, -0.0, "batch: 0.0 and -0.0"),
        ("cat", "dog", "batch: 'cat' and 'dog'"),
        ("x" * 99 + "abc", "x" * 99 + "abd", "batch: ...xxxxxxxxabc' and ...xxxxxxxxabd'"),
        (b"a", b"b", "batch: b'a' and b'b'"),
        ([1, 2], [1], "batch: a list of 2 and a list of 1"),
        ((1,), [1], "batch: a tuple of 1 and a list of 1"),
        (Point(1, 2), (1, 2), "batch: a Point of 2 with .x, .y and a tuple of 2"),
        (Point(1, Sample(2, "n")), Point(1, Sample(3, "n")), "batch.y.image: 2 and 3"),
        ({"a": 1}, {"b": 1}, 'batch: other keys: "a" and "b"'),
        ({}, {1: 1}, "batch: other keys: none and 1"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, 'batch: the keys in another order: "a", "b" and "b", "a"'),
        ({"a": {3: 1}}, {"a": {3: 2}}, 'batch["a"][3]: 1 and 2'),
    ],
)
def test_how_they_differ_is_told(one: Any, other: Any, words: str) -> None:
    """The path, what differs and both values, so that they can be told apart."""
    assert told(one, other) == [words]


def test_an_int_of_any_length_is_told() -> None:
    """Also one of more digits than Python would write."""
    assert told(2**90000, 2**90000 + 1) == ["batch: ...00000000000 and ...00000000001"]


def test_each_leaf_that_differs_is_told() -> None:
    """Not the first one alone."""
    assert told([1, 2, 3], [1, 0, 0]) == ["batch[1]: 2 and 0", "batch[2]: 3 and 0"]


@pytest.mark.skipif(np.finfo(np.longdouble).nmant != 63, reason="long doubles have no padding here")
def test_what_pads_a_long_double_is_no_part_of_it() -> None:
    """The last six of its sixteen bytes are whatever lay there."""
    for dtype in (np.longdouble, np.clongdouble):
        one = np.ones(2, dtype)
        other = one.copy()
        other.view(np.uint8)[15] = 9
        assert told(one, other) == []
        assert told(one, changed(other, 1, 3)) != []


@pytest.mark.skipif(TEXTS is ZEROS, reason="this NumPy has no StringDType")
def test_texts_of_any_length_are_compared() -> None:
    """An array of StringDType holds pointers, so its texts are compared."""
    assert told(TEXTS, TEXTS.copy()) == []
    assert told(TEXTS, changed(TEXTS, 1, "b")) == ["batch: 1 of 2 texts differ, first at [1]: None and 'b'"]
