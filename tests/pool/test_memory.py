"""The budget of the batches' memory."""

from __future__ import annotations

import os

from enqueued.pool.memory import Memory, available_bytes

MB = 1 << 20


def test_what_is_available_is_less_than_the_machine_has() -> None:
    """And more than nothing."""
    whole = os.sysconf("SC_PAGESIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < available_bytes() <= whole
    assert Memory(None).limit <= whole // 4


def test_grants_count_until_their_segments_are_there() -> None:
    """What was promised and what was made of it is not counted twice."""
    memory = Memory(10 * MB)
    assert memory.grant(6 * MB, urgent=False)
    assert not memory.fits(6 * MB)
    assert not memory.grant(6 * MB, urgent=False)
    memory.table.add(1, os.open("/dev/null", os.O_RDONLY), 6 * MB, 1)
    memory.arrived(6 * MB)
    assert memory.fits(4 * MB)
    assert not memory.fits(4 * MB + 1)
    memory.table.close()
    assert memory.fits(10 * MB)


def test_what_is_urgent_may_exceed_the_budget_but_not_the_machine() -> None:
    """A client waits for just this batch."""
    memory = Memory(1 * MB)
    assert not memory.grant(8 * MB, urgent=False)
    assert memory.grant(8 * MB, urgent=True)
    assert not memory.grant(1 << 60, urgent=True)


def test_segments_are_bounded_by_the_files_that_may_be_open() -> None:
    """A budget in bytes alone would let the daemon run out of descriptors."""
    memory = Memory(100 * MB)
    assert memory.room(2 * MB) == 50
    memory.most_segments = 2
    assert memory.room(2 * MB) == 2
    assert memory.room(1000) == 512
    for number in range(2):
        assert memory.fits(MB)
        memory.table.add(number, os.open("/dev/null", os.O_RDONLY), MB, 1)
    assert not memory.fits(MB)
    assert memory.grant(MB, urgent=True)
    memory.table.close()
