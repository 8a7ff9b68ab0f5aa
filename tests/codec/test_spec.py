"""A batch is described without its values, in plain data that travels."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.codec.spec import LeafSpec, describe, spec
from enqueued.errors import ProtocolError

Encode = Callable[[Any], np.ndarray[Any, Any]]
Point = collections.namedtuple("Point", ["x", "y"])


def test_a_description_has_the_shape_of_the_batch(encoded: Encode) -> None:
    """Containers are those of the batch, and each leaf says its shape and dtype."""
    batch = {
        "image": (np.zeros((2, 3), ">f4"), np.zeros(4, ml_dtypes.bfloat16)),
        "point": Point(np.float64(1), [1, "a", b"b" * 999, None, 2**80, 1j, True]),
        "texts": np.array([["a"]], np.dtypes.StringDType()),
    }
    plain = msgpack.unpackb(msgpack.packb(describe(encoded(batch))))
    described = spec(plain)
    assert described["image"] == (
        LeafSpec((2, 3), np.dtype(">f4")),
        LeafSpec((4,), np.dtype(ml_dtypes.bfloat16)),
    )
    assert type(described["point"]).__name__ == "Point"
    assert described["point"].x == LeafSpec((), np.dtype("f8"))
    kinds = [int, str, bytes, type(None), int, complex, bool]
    assert described["point"].y == [LeafSpec((), kind) for kind in kinds]
    assert described["texts"] == LeafSpec((1, 1), np.dtypes.StringDType())
    assert repr(described["image"][0]) == "LeafSpec(shape=(2, 3), dtype=>f4)"
    assert repr(described["point"].y[1]) == "LeafSpec(shape=(), dtype=str)"


def test_equal_structures_have_equal_descriptions(encoded: Encode) -> None:
    """Values and places do not show, so a description is the same for each batch of a stream."""
    assert describe(encoded([1, "a", np.zeros(3)])) == describe(encoded([2, "bcd", np.ones(3)]))


@given(data=st.data())
def test_every_batch_can_be_described(data: st.DataObject, batches: st.SearchStrategy[Any], encoded: Encode) -> None:
    """What can be encoded can be described, sent, and read."""
    plain = describe(encoded(data.draw(batches)))
    sent = msgpack.unpackb(msgpack.packb(plain, unicode_errors="surrogatepass"), unicode_errors="surrogatepass")
    spec(sent)


@pytest.mark.parametrize(
    "plain",
    [None, [], ["a"], ["a", "|O", [1]], ["v", "object"], ["v", []], ["x", 1], ["t", [["a", "<f4", [-1]]]], ["s", "O"]],
    ids=repr,
)
def test_a_false_description_is_refused(plain: Any) -> None:
    """A description comes from the daemon, whom the client need not trust."""
    with pytest.raises(ProtocolError):
        spec(plain)
