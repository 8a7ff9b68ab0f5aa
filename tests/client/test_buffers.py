"""Memory for copies is used again, and never under an array that somebody has."""

from __future__ import annotations

import gc
import random
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from enqueued.client.buffers import Buffers


def address(root: np.ndarray[Any, Any]) -> int:
    """Where it begins."""
    return int(root.__array_interface__["data"][0])


def test_what_was_let_go_of_is_used_again() -> None:
    """One after the other they lie in the same place, aligned as a slot is."""
    buffers = Buffers()
    places = set()
    for nbytes in (5000, 5000, 1, 4999):
        root = buffers.take(nbytes)
        assert root.size == nbytes
        assert root.flags.writeable
        places.add(address(root))
        del root
    assert len(places) == 1
    assert places.pop() % 64 == 0


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_what_somebody_has_stays_as_it_is(sizes: list[int], chance: random.Random) -> None:
    """A view of a view of it is enough, also within a cycle that is collected later."""
    buffers = Buffers()
    kept: dict[int, np.ndarray[Any, Any]] = {}
    for number, nbytes in enumerate(sizes):
        root = buffers.take(nbytes)
        root[:] = number % 251
        kept[number] = np.ndarray((nbytes,), np.uint8, root)[: max(1, nbytes // 2)]
        if chance.random() < 0.2:
            cycle: list[Any] = [root]
            cycle.append(cycle)
            del cycle
        del root
        if chance.random() < 0.6:
            del kept[chance.choice(list(kept))]
        if chance.random() < 0.1:
            gc.collect()
        assert all((array == one % 251).all() for one, array in kept.items())
