"""An object that is sent again and again: what is the same is not written again, and nobody disturbs another."""

from __future__ import annotations

import gc
import os
from typing import Any

import numpy as np

from enqueued.pool import edition
from enqueued.pool.edition import Edition, read


def sizes(one: Edition) -> list[int]:
    """The bytes of its files, its own first."""
    return [os.fstat(fd).st_size for fd in one.files]


def test_what_has_not_changed_is_read_where_it_was() -> None:
    """Only the pickle and what differs is written."""
    state: dict[str, Any] = {"data": np.arange(100_000), "order": np.arange(20_000), "epoch": 0}
    first = Edition(state)
    state["order"] = state["order"][::-1].copy()
    state["epoch"] = 1
    second = Edition(state, first)
    third = Edition(state, second)
    assert sizes(first)[0] > 900_000
    assert 160_000 < sizes(second)[0] < 200_000
    assert sizes(third)[0] < 1000
    assert len(third.files) == 3
    for one in (second, third):
        found = read(list(one.files))
        assert found["epoch"] == 1
        assert np.array_equal(found["data"], state["data"])
        assert np.array_equal(found["order"], state["order"])


def test_a_change_in_the_last_byte_is_seen() -> None:
    """Also where the size is no multiple of a word."""
    state = np.zeros(100_003, np.uint8)
    first = Edition(state)
    state[-1] = 1
    second = Edition(state, first)
    assert read(list(second.files))[-1] == 1


def test_what_a_reader_writes_stays_its_own() -> None:
    """The next edition is read as it was sent."""
    state = np.zeros(100_000)
    first = Edition(state)
    read(list(first.files))[:] = 7
    second = Edition(state, first)
    assert sizes(second)[0] < 1000
    assert not read(list(second.files)).any()


def test_files_do_not_become_too_many() -> None:
    """An edition that would need more is written as a whole; those of before are closed."""
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    state = [np.zeros(100_000, np.uint8) for _ in range(20)]
    one = Edition(state)
    for number, array in enumerate(state):
        array[:] = number + 1
        one = Edition(state, one)
        assert len(one.files) <= edition._MOST_FILES
        assert [int(found[0]) for found in read(list(one.files))] == [int(array[0]) for array in state]
    assert len(os.listdir("/proc/self/fd")) == before + len(one.files)


def test_arrays_keep_their_layout() -> None:
    """Types, order in memory, and whether they may be written."""
    fixed = np.arange(70_000.0)
    fixed.flags.writeable = False
    state: list[Any] = [np.asfortranarray(np.ones((300, 400))), fixed, np.zeros(0), "text", np.arange(90_000)[::3]]
    one = Edition(state)
    found = read(list(one.files))
    assert found[0].flags.f_contiguous
    assert not found[1].flags.writeable
    assert found[3] == "text"
    for there, here in zip(found, state, strict=True):
        assert np.array_equal(there, here)
