"""Named tuples and dataclasses come back as stand-ins that behave alike."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from enqueued.codec import records
from enqueued.codec.decode import decode
from enqueued.codec.records import naming_fault, record_class

Encode = Callable[[Any], np.ndarray[Any, Any]]


class Labelled(NamedTuple):
    """A typed named tuple, as users write them."""

    image: Any
    label: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    """A dataclass without a `__dict__`."""

    a: int
    b: Any = None


def test_a_named_tuple_unpacks_and_has_its_fields(encoded: Encode) -> None:
    """It is a tuple, and its fields can be asked by name."""
    back = decode(encoded(Labelled(np.zeros(2), 3)))
    image, label = back
    assert back.image is image
    assert label == back.label == 3
    assert type(back).__name__ == "Labelled"
    assert back._replace(label=4).label == 4


def test_a_dataclass_has_its_fields(encoded: Encode) -> None:
    """Frozen and slotted ones come back with name and fields, and work with the functions of `dataclasses`."""
    back = decode(encoded(Frozen(1, "x")))
    assert (back.a, back.b) == (1, "x")
    assert repr(back) == "Frozen(a=1, b='x')"
    assert dataclasses.asdict(dataclasses.replace(back, a=2)) == {"a": 2, "b": "x"}


def test_equal_records_share_their_class(encoded: Encode) -> None:
    """A class is made once, so that the records of two batches compare and can be told by their type."""
    one, other = decode(encoded(Frozen(1))), decode(encoded([Frozen(1), 2]))[0]
    assert type(one) is type(other)
    assert one == other


def test_unfit_names_of_a_named_tuple_keep_their_replacements(encoded: Encode) -> None:
    """`rename=True` gives names that only `rename=True` accepts."""
    named_tuple: Any = collections.namedtuple
    kind = named_tuple("Row", ["class", "x"], rename=True)
    assert decode(encoded(kind(1, 2)))._fields == ("_0", "x")


@pytest.mark.parametrize(
    "name", ["", "1", "a b", "class", "a;b", "a\nb", "()", "x:int", "ﬁ", "a" * 257, "__x", "__init__"]
)
@pytest.mark.parametrize("kind", ["n", "c"])
def test_improper_names_are_found(kind: str, name: str) -> None:
    """No name that is not a plain public identifier reaches the code that Python generates."""
    assert naming_fault(kind, "A", (name,))
    if not name.startswith("__"):
        assert naming_fault(kind, name, ("x",))
    assert naming_fault(kind, "A", ("x", "x"))
    assert naming_fault(kind, "A", tuple(f"x{number}" for number in range(1025)))


@pytest.mark.parametrize("field", ["self", "MISSING", "print", "match", "count", "index", "cls", "λ", "x1", "builtins"])
@pytest.mark.parametrize("kind", ["n", "c"])
def test_proper_names_that_mean_something_elsewhere_work(kind: str, field: str) -> None:
    """A field may be called as things are inside the generated code."""
    assert not naming_fault(kind, field, (field, "other"))
    assert getattr(record_class(kind, "A", (field, "other"))(5, 6), field) == 5


def test_the_classes_that_are_remembered_are_bounded() -> None:
    """A peer that invents names makes no more classes than the bound."""
    for number in range(600):
        record_class("n", f"A{number}", ("x",))
    assert len(records._classes) <= 256
