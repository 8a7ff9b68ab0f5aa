"""What cannot travel is refused with its path and the way out."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import pathlib
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from enqueued.codec.decode import decode
from enqueued.codec.encode import encode
from enqueued.errors import EncodeError

Encode = Callable[[Any], np.ndarray[Any, Any]]
Point = collections.namedtuple("Point", ["x", "y"])
good = np.arange(4.0)


@dataclasses.dataclass
class Sample:
    """A dataclass with a field that is set later."""

    image: Any
    label: Any = dataclasses.field(init=False)


class Thing:
    """An arbitrary object."""

    def __repr__(self) -> str:
        return "never shown"


class Stubborn:
    """An array that refuses to become one, as one on a device does."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("it lies on the device")


objects = np.array([1, "a"], dtype=object)
unset = Sample(1)
named_tuple: Any = collections.namedtuple
ligature = named_tuple("Point", ["ﬁ", "x"])

CASES: list[tuple[Any, str]] = [
    (objects, "batch: an array of Python objects"),
    ({"x": (good, objects)}, 'batch["x"][1]: an array of Python objects'),
    ({"x": [good, np.zeros(1, [("a", "i4"), ("b", "O")])]}, 'batch["x"][1]: an array of Python objects'),
    ({1: {b"k": Thing()}}, f"batch[1][b'k']: a {__name__}.Thing cannot travel; make it an array"),
    (Point(1, Point(2, {1})), "batch.y.y: a set cannot travel; a set has no order"),
    ([Sample(frozenset())], "batch[0].image: a frozenset cannot travel"),
    ([unset], "batch[0].label: the field was never set"),
    ((good, (n for n in range(3))), "batch[1]: a generator cannot travel; it can be read only once"),
    ((good, range(3)), "batch[1]: a range cannot travel; make it a list"),
    ((good, bytearray(3)), "batch[1]: a bytearray cannot travel; make it bytes"),
    ((good, pathlib.PurePosixPath("a")), "batch[1]: a pathlib.PurePosixPath cannot travel; make it a string"),
    ((good, datetime.date(2020, 1, 1)), "batch[1]: a datetime.date cannot travel; make it np.datetime64"),
    ((good, Thing), "batch[1]: a type cannot travel; an instance was perhaps meant"),
    ((good, Stubborn()), f"batch[1]: a {__name__}.Stubborn that does not become an array (RuntimeError: it lies"),
    ((good, np.ma.masked_array([1, 2], [False, True])), "batch[1]: a masked array; its mask would be lost, so fill it"),
    ({"y": [[1, 2, 3], [4, 5]]}, 'batch["y"]: ragged list: rows of 3 and 2 numbers; pad them, or make each row an'),
    ([[[1.0], [2.0]], [[1.0], []]], "batch[1]: ragged list: rows of 1 and 0 numbers"),
    ({"a": {1.5: 0}}, 'batch["a"]: a dict with the key 1.5, a float; keys are str'),
    ({"a": {np.int64(1): 0}}, 'batch["a"]: a dict with the key np.int64(1), a numpy.int64; keys are str'),
    ({10**9999: 0}, "batch: a dict with a key of 33216 bits"),
    ({"x" * 200: objects}, 'batch["' + "x" * 75 + "...]: an array"),
    ((good, list(range(5000))), "batch[1]: 5000 items in one container, more than 4096; make it an array"),
    ({"a": 1, "b": ["x" * 100] * 1000}, 'batch["b"]: a list of 1000 values takes 105000 of the header'),
    ((1, 10**100_000), "batch[1]: an int of 332193 bits; make it bytes"),
    ((1, 10**70_000), "batch: a tuple of 2 values takes"),
    (np.zeros((1,) * 33), "batch: an array of shape (1, 1,"),
    (np.zeros((0, 2**40)), "batch: an array of shape (0, 1099511627776), beyond"),
    (np.zeros(2, np.dtype(ml_dtypes.bfloat16).newbyteorder(">")), "batch: an array of dtype"),
    (np.array(["a"], np.dtypes.StringDType(na_object=Thing())), "batch: an array of strings with the missing value"),
    (ligature(1, 2), "batch: the class Point could not be made again"),
    (type("no name", (Sample,), {})(1), "batch.label: the field was never set"),
    (dataclasses.make_dataclass("A", ["__x"])(1), "batch: the class A could not be made again "),
]


@pytest.mark.parametrize(("batch", "message"), CASES, ids=lambda case: case[:40] if isinstance(case, str) else "")
def test_what_cannot_travel_is_named_with_its_path(batch: Any, message: str, encoded: Encode) -> None:
    """The error says where in the batch, what, and what to do; the next batch is encoded as if nothing was."""
    for _ in range(2):
        with pytest.raises(EncodeError) as caught:
            encode(batch)
        assert str(caught.value).startswith(message)
        assert caught.value.__cause__ is None
        assert decode(encoded({"x": (good, good)}))["x"][1].tolist() == good.tolist()


def test_an_encode_error_is_a_type_error() -> None:
    """Users may catch what Python itself would raise."""
    with pytest.raises(TypeError):
        encode(Thing())


def test_a_batch_that_holds_itself_is_refused() -> None:
    """A cycle ends at the bound on depth and does not exhaust the stack."""
    cycle: list[Any] = []
    cycle.append({"again": cycle})
    with pytest.raises(EncodeError, match="nested deeper than 32 levels; does the batch hold itself"):
        encode(cycle)


def test_the_deepest_batch_that_travels_comes_back(encoded: Encode) -> None:
    """32 levels of containers are the bound on both sides."""
    deep: Any = 7
    for _ in range(32):
        deep = {"k": [deep]} if _ % 2 else Point(deep, 0)
        if _ % 2:
            deep = deep["k"]
    assert decode(encoded(deep)) == deep
    with pytest.raises(EncodeError, match="nested deeper"):
        encode([deep])


def test_lists_that_look_ragged_but_are_not_travel(encoded: Encode) -> None:
    """Rows of texts, rows in tuples, rows beside other things, and equal rows are nobody's mistake."""
    batches: list[Any] = [[["a", "b"], ["c"]], ([1, 2], [3]), [[1, 2], [3], None], [[1, 2], [3, 4]], [(1, 2), (3,)]]
    for batch in batches:
        assert decode(encoded(batch)) == batch


def test_rows_that_are_arrays_may_differ(encoded: Encode) -> None:
    """The way out that the error for ragged lists names works."""
    rows = [np.zeros(3), np.zeros(2)]
    assert [row.shape for row in decode(encoded(rows))] == [(3,), (2,)]
