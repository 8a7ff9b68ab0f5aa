"""The budget of the batches' memory."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from enqueued.pool.memory import Claim, Memory, available_bytes

MB = 1 << 20


def test_what_is_available_is_less_than_the_machine_has() -> None:
    """And more than nothing."""
    whole = os.sysconf("SC_PAGESIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < available_bytes() <= whole
    assert Memory(None).limit <= whole // 4


def fill(memory: Memory, claim: Claim, number: int, nbytes: int) -> None:
    """A worker of a stream makes a segment."""
    memory.table.add(number, os.open("/dev/null", os.O_RDONLY), nbytes, number, claim.number)


def test_grants_count_until_their_segments_are_there() -> None:
    """What was promised and what was made of it is not counted twice."""
    memory = Memory(10 * MB)
    claim = memory.join()
    assert claim.grant(6 * MB, urgent=False)
    assert not memory.fits(6 * MB)
    assert not claim.grant(6 * MB, urgent=False)
    fill(memory, claim, 1, 6 * MB)
    claim.arrived(6 * MB)
    assert claim.held == 6 * MB
    assert memory.fits(4 * MB)
    assert not memory.fits(4 * MB + 1)
    memory.table.close()
    assert claim.held == 0
    assert memory.fits(10 * MB)


def test_what_is_urgent_may_exceed_the_budget_but_not_the_machine() -> None:
    """A client waits for just this batch."""
    claim = Memory(1 * MB).join()
    assert not claim.grant(8 * MB, urgent=False)
    assert claim.grant(8 * MB, urgent=True)
    assert not claim.grant(1 << 60, urgent=True)


def test_segments_are_bounded_by_the_files_that_may_be_open() -> None:
    """A budget in bytes alone would let the daemon run out of descriptors."""
    memory = Memory(100 * MB)
    claim = memory.join()
    assert claim.room(2 * MB) == 50
    memory.most_segments = 2
    assert claim.room(2 * MB) == 2
    assert claim.room(1000) == 512
    for number in range(2):
        assert memory.fits(MB)
        fill(memory, claim, number, MB)
    assert not memory.fits(MB)
    assert claim.grant(MB, urgent=True)
    memory.table.close()


def test_a_stream_may_use_what_others_leave_and_gives_it_back() -> None:
    """One that came first may hold everything, until another that has less than its part needs some."""
    memory = Memory(10 * MB)
    first, second = memory.join(), memory.join()
    assert first.room(MB) == 10
    for number in range(9):
        assert first.grant(MB, urgent=False)
        first.arrived(MB)
        fill(memory, first, number, MB)
    second.has_clients = True
    assert (first.owes, first.pressed) == (0, False)
    second.lack([MB, MB, MB])
    assert (first.owes, first.pressed, second.owed) == (2 * MB, True, True)
    assert not first.grant(MB, urgent=False)  # there is one left, but not for this one
    assert second.grant(MB, urgent=False)
    assert (first.room(MB), second.room(MB)) == (6, 5)
    second.lack([])
    assert first.owes == 0
    memory.table.close()


def test_nobody_gives_back_what_would_not_help() -> None:
    """A batch that does not fit a stream's part is made when a client waits for it, at nobody's cost before that."""
    memory = Memory(10 * MB)
    first, second = memory.join(), memory.join()
    fill(memory, first, 1, 10 * MB)
    second.has_clients = True
    second.lack([6 * MB])
    assert (first.owes, second.lacking) == (0, 0)
    assert not second.grant(6 * MB, urgent=False)
    assert second.grant(6 * MB, urgent=True)
    memory.table.close()


def test_a_segment_counts_as_its_part_of_the_files() -> None:
    """Else many small segments of one stream would leave no descriptor to another."""
    memory = Memory(100 * MB)
    memory.most_segments = 10
    first, second = memory.join(), memory.join()
    for number in range(10):
        fill(memory, first, number, 1000)
    assert first.held == 100 * MB
    second.has_clients = True
    second.lack([1000])
    assert first.owes > 0
    memory.table.close()


STEPS = st.tuples(st.integers(0, 2), st.sampled_from(["lack", "take", "give"]), st.integers(1, 4))


@given(st.integers(4, 30), st.lists(STEPS, max_size=60))
def test_whoever_has_less_than_its_part_gets_what_fits_it(megabytes: int, steps: list[tuple[int, str, int]]) -> None:
    """Nobody is asked for what is its part; when all who owe have given, those who lacked get what they lacked."""
    memory = Memory(megabytes * MB)
    claims = [memory.join() for _ in range(3)]
    segments: dict[int, list[tuple[int, int]]] = {claim.number: [] for claim in claims}
    for number, (n, what, size) in enumerate(steps):
        claim = claims[n]
        owned = segments[claim.number]
        if what == "lack":
            claim.has_clients = True
            claim.lack([size * MB])
        elif what == "give" and owned:
            memory.table.withdraw(owned.pop()[0])
        elif what == "take":
            claim.lack([size * MB])
            lacking = claim.lacking
            for other in claims:
                assert other.bound >= other.part
                while lacking and other is not claim and not memory.fits(size * MB) and other.owes:
                    assert other.held > other.part
                    memory.table.withdraw(segments[other.number].pop()[0])
            granted = claim.grant(size * MB, urgent=False)
            assert granted or not lacking
            if granted:
                claim.arrived(size * MB)
                fill(memory, claim, number + 1, size * MB)
                owned.append((number + 1, size))
            claim.lack([])
        assert memory.table.total_bytes <= memory.limit
    memory.table.close()
