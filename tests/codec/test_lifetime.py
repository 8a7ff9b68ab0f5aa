"""Leaves keep their root alive, and nothing else does."""

from __future__ import annotations

import gc
import mmap
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from enqueued.codec.decode import decode

Root = np.ndarray[Any, Any]
Encode = Callable[[Any], Root]


def _over_mmap(data: bytes) -> Root:
    memory = mmap.mmap(-1, len(data))
    memory[:] = data
    return np.frombuffer(memory, np.uint8)


def _over_memoryview(data: bytes) -> Root:
    return np.frombuffer(memoryview(bytearray(data)), np.uint8)


def _over_part_of_mmap(data: bytes) -> Root:
    memory = mmap.mmap(-1, len(data) + 128)
    memory[64 : 64 + len(data)] = data
    return np.ndarray(len(data), np.uint8, memoryview(memory)[64:])


def _owning(data: bytes) -> Root:
    root = np.empty(len(data), np.uint8)
    root[:] = np.frombuffer(data, np.uint8)
    return root


@pytest.mark.parametrize("make", [_over_mmap, _over_memoryview, _over_part_of_mmap, _owning])
def test_the_root_lives_as_long_as_any_part_of_a_leaf(make: Callable[[bytes], Root], encoded: Encode) -> None:
    """A callback on the root fires when the last leaf and the last view of one are gone, and then at once."""
    structured = np.zeros(4, [("a", "f4", (2,)), ("b", "i8")])
    root = make(encoded({"x": np.arange(12).reshape(3, 4), "y": [structured, np.zeros((0, 2))], "n": 5}).tobytes())
    gone: list[bool] = []
    watch = weakref.ref(root, lambda _: gone.append(True))
    batch = decode(root)
    del root
    views: list[Any] = [
        batch["x"][1:],
        batch["x"].T[0],
        batch["x"].reshape(-1)[3:].view("u1")[2:],
        batch["x"].view(np.matrix)[0],
        memoryview(batch["x"]),
        batch["y"][0]["a"],
        batch["y"][0][1],
        iter(batch["x"]),
        np.asarray(batch["x"]).flat,
        batch["y"][1][:],
    ]
    del batch
    while views:
        assert watch() is not None
        assert not gone
        views.pop()
    assert gone


def test_values_and_scalars_do_not_hold_the_root(encoded: Encode) -> None:
    """Texts, numbers, NumPy scalars and arrays of strings are copied out, so a batch of them holds no slot."""
    scalars = [np.float32(1), np.void(b"abc"), np.zeros((), "i4,f8")[()], np.datetime64("2020")]
    strings = np.array(["a"], dtype=np.dtypes.StringDType())
    root = _over_mmap(encoded([*scalars, "text" * 100, b"bytes" * 100, strings, 1.5]).tobytes())
    watch = weakref.ref(root)
    batch = decode(root)
    del root
    assert watch() is None
    assert batch[1] == np.void(b"abc")


def test_a_plan_holds_no_root(encoded: Encode) -> None:
    """What the decoder remembers of a header does not keep the batch that it came with."""
    root = _over_memoryview(encoded((np.zeros(17), "only here")).tobytes())
    watch = weakref.ref(root)
    decode(root)
    del root
    gc.collect()
    assert watch() is None
