"""Batches that came as one: the same as if each had come alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enqueued.codec.decode import decode
from enqueued.codec.limits import aligned
from enqueued.codec.runs import decode_run
from enqueued.errors import ProtocolError

Root = np.ndarray[Any, Any]
Encode = Callable[[Any], Root]
Same = Callable[[Any, Any], bool]

COUNTS = [1, 2, 5, 64]
LAYOUTS: list[Any] = [
    (np.arange(6, dtype="<f4").reshape(2, 3), np.arange(3)),
    {"x": [np.arange(4, dtype=">i2"), (np.ones((2, 0, 3)), "text")], 7: None, b"k": 1.5},
    [np.zeros(0, "u1"), np.zeros((3, 0)), np.zeros((0, 2**30), "u1")],
    np.array([1 + 2j, -0.0], "<c16"),
    np.array(["a", "bc"]),
    np.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i2"), ("b", ">f8")]),
    np.zeros(3, "S0"),
    np.zeros((2, 2), "V0"),
    np.zeros((1,) * 32),
    np.zeros(3, dtype=[]),
    np.array(5),
    (np.zeros(2), np.array(5)),
    np.float32(1.5),
    None,
    [None, [None]],
    "text",
    [],
    (np.ones(2), ()),
    {"a": np.ones(2), "b": {}},
    {},
    (np.ones(2), "x" * 5000, b"y" * 5000),
    (np.ones(2), -(2**70), 1 - 2j),
]


def joined(roots: list[Root]) -> tuple[Root, int]:
    """The bytes of batches in cells that follow each other, and how far apart those are; all as long as the longest."""
    nbytes = max(root.size for root in roots)
    step = aligned(nbytes) + 64
    whole = np.full((len(roots) - 1) * step + nbytes, 0xA5, np.uint8)
    for n, root in enumerate(roots):
        whole[n * step : n * step + root.size] = root
    return whole, step


def as_alone(whole: Root, count: int, step: int) -> list[Any]:
    """What `decode` makes of each, or the error that it raises."""
    nbytes = whole.size - (count - 1) * step
    return [alone(whole[n * step : n * step + nbytes].copy()) for n in range(count)]


def alone(root: Root) -> Any:
    """What `decode` makes of one."""
    try:
        return decode(root)
    except ProtocolError as error:
        return error


def alike(one: Any, other: Any, same: Same) -> bool:
    """Whether two batches are the same, or both are none."""
    return isinstance(other, ProtocolError) if isinstance(one, ProtocolError) else same(one, other)


def arrays_of(batch: Any) -> list[Root]:
    """The arrays in a batch."""
    if isinstance(batch, np.ndarray):
        return [batch]
    if isinstance(batch, (list, tuple)):
        return [array for one in batch for array in arrays_of(one)]
    if isinstance(batch, dict):
        return arrays_of(list(batch.values()))
    return arrays_of(list(vars(batch).values())) if hasattr(batch, "__dataclass_fields__") else []


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_batches_of_a_run_are_what_they_are_alone(
    data: st.DataObject, batches: st.SearchStrategy[Any], encoded: Encode, same: Same
) -> None:
    """The same one again and again, with other numbers in it, or quite another among them."""
    roots = [encoded(data.draw(batches))]
    roots *= data.draw(st.integers(1, 5))
    if data.draw(st.booleans()):
        roots.insert(data.draw(st.integers(0, len(roots))), encoded(data.draw(batches)))
    whole, step = joined(roots)
    found = decode_run(whole.copy(), len(roots), step)
    assert len(found) == len(roots)
    for one, other in zip(found, as_alone(whole, len(roots), step), strict=True):
        assert same(one, other)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("batch", LAYOUTS, ids=range(len(LAYOUTS)))
def test_a_run_of_one_layout_is_what_its_batches_are_alone(batch: Any, count: int, encoded: Encode, same: Same) -> None:
    """Whatever is in them: arrays of any kind, none at all, containers with nothing in them, 0-d arrays."""
    root = encoded(batch)
    whole, step = joined([root] * count)
    for n, number in enumerate(np.random.default_rng(3).bytes(count)):
        body = whole[n * step + root.size - 1 : n * step + root.size]
        body[...] = number if len(arrays_of(batch)) == 1 and root.size > 128 else body  # else it is no array's
    for one, other in zip(decode_run(whole.copy(), count, step), as_alone(whole, count, step), strict=True):
        assert same(one, other)
        for array in arrays_of(one):
            assert type(array) is np.ndarray
            assert array.flags.c_contiguous


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_arrays_of_a_run_may_be_written_each_by_itself(
    data: st.DataObject, arrays: st.SearchStrategy[Any], encoded: Encode, same: Same
) -> None:
    """Whatever one batch is changed to, its neighbours and their lists and dicts stay what they were."""
    batch = [(data.draw(arrays), data.draw(arrays)), {"x": [data.draw(arrays)]}]
    count = data.draw(st.integers(2, 6))
    whole, step = joined([encoded(batch)] * count)
    found, expected = decode_run(whole, count, step), decode(encoded(batch))
    changed = data.draw(st.integers(0, count - 1))
    for array in arrays_of(found[changed]):
        assert array.flags.writeable
        if array.nbytes:
            array.reshape(-1).view(np.uint8)[...] = 255
    found[changed][1]["x"].append("more")
    found[changed][1]["y"] = 1
    for n, one in enumerate(found):
        if n != changed:
            assert same(one, expected)


def test_the_longest_batch_says_how_long_all_are(encoded: Encode, same: Same) -> None:
    """Those whose layout is another are decoded one by one, and what lies behind a shorter one is nothing."""
    batches = [np.arange(5), np.arange(6), "text", np.arange(5), (), {"x": np.zeros(2)}]
    whole, step = joined([encoded(batch) for batch in batches])
    for one, other in zip(decode_run(whole, len(batches), step), batches, strict=True):
        assert same(one, other)


@pytest.mark.parametrize("count", [-1, 0, 1, 2, 3, 4, 63, 64, 65, 10**6, 2**62])
@pytest.mark.parametrize("step", [-64, -1, 0, 1, 63, 64, 192, 255, 256, 257, 320, 10**6, 2**62, 2**63 - 1])
@pytest.mark.parametrize("batch", [np.arange(16), np.array(5), "text", (np.zeros(2), ())], ids=range(4))
def test_a_run_that_cannot_be_is_a_protocol_error(
    batch: Any, count: int, step: int, encoded: Encode, same: Same
) -> None:
    """Or, where it happens to fit, what its batches are alone; nothing else is raised."""
    whole, _ = joined([encoded(batch)] * 4)
    try:
        found = decode_run(whole, count, step)
    except ProtocolError:
        return
    nbytes = whole.size - (count - 1) * step
    assert nbytes > 0
    assert count == 1 or step >= nbytes
    for one, other in zip(found, as_alone(whole, count, step), strict=True):
        assert alike(one, other, same)


HUGE = [[0, 2**39, 2**22], [2**39, 0, 2**22], [0] + [2] * 31, [2**30, 2**31, 0], [0, 2**39], [1] * 32, [2**39, 2**22]]
EMPTY = ["<f8", "|u1", "|S0", "|V0", "<U0", [[], [], [], 0]]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("shape", HUGE, ids=str)
@pytest.mark.parametrize("dtype", EMPTY, ids=str)
def test_empty_arrays_of_immense_shapes_are_what_they_are_alone(
    dtype: Any, shape: list[int], count: int, encoded: Encode
) -> None:
    """Shapes that no NumPy could give, in headers that a stranger has written: a batch, or a `ProtocolError`."""
    packed = msgpack.packb([["t", [["a", dtype, shape, 0]]], 256])
    start = aligned(8 + len(packed))
    root = np.zeros(start + 256, np.uint8)
    root[:4] = np.frombuffer(len(packed).to_bytes(4, "little"), np.uint8)
    root[4] = 1
    root[8 : 8 + len(packed)] = np.frombuffer(packed, np.uint8)
    whole, step = joined([root] * count)
    for one, other in zip(decode_run(whole, count, step), as_alone(whole, count, step), strict=True):
        if isinstance(other, ProtocolError):
            assert isinstance(one, ProtocolError)
        else:
            assert (one[0].shape, one[0].dtype) == (other[0].shape, other[0].dtype)


def test_spoilt_runs_are_what_their_batches_are_alone(encoded: Encode, same: Same) -> None:
    """Thousands of them, with some bytes changed, and false counts and steps; nothing is read outside."""
    chance = random.Random(11)
    batch = (np.arange(50, dtype="<f4"), {"text": "abc", "more": np.ones((2, 3), ">i2")}, [b"x" * 50])
    good, step = joined([encoded(batch)] * 4)
    refused = 0
    for _ in range(3000):
        whole = good.copy()
        for _ in range(chance.randint(0, 3)):
            whole[chance.randrange(whole.size if chance.random() < 0.5 else 150)] = chance.randrange(256)
        if chance.random() < 0.3:
            whole = whole[: chance.randrange(whole.size)].copy()
        if chance.random() < 0.2:  # all alike, and all wrong
            place, value = chance.randrange(150), chance.randrange(256)
            whole[place :: step if place < step else 1] = value
        count = chance.choice((4, 4, 4, 1, 2, 3, chance.randint(0, 65)))
        apart = chance.choice((step, step, step, chance.randint(0, 2 * step)))
        try:
            found = decode_run(whole, count, apart)
        except ProtocolError:
            refused += 1
            continue
        low = whole.ctypes.data
        expected = as_alone(whole, count, apart)
        for one, other in zip(found, expected, strict=True):
            assert alike(one, other, same)
            refused += isinstance(one, ProtocolError)
            for array in arrays_of(one):
                at = array.__array_interface__["data"][0]
                assert (
                    array.nbytes == 0 or array.dtype.kind == "T" or low <= at <= at + array.nbytes <= low + whole.size
                )
    assert refused > 1000
