"""The replicas of a streamed source, taken in turn, against the plain account of what that means."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from enqueued.pool.interleave import Interleave

LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=5)


def in_turn(lengths: list[int]) -> list[tuple[int, int]]:
    """Replica and number of each batch, in the order of a round-robin that passes over those that have ended."""
    return [(k, number) for number in range(max(lengths)) for k, length in enumerate(lengths) if number < length]


@given(LENGTHS, st.integers(1, 7), st.randoms(use_true_random=False))
def test_batches_come_in_turn_however_the_replicas_answer(lengths: list[int], wanted: int, chance: Random) -> None:
    """Whatever is asked ahead, and in whichever order answers come, each batch comes once and in its place."""
    interleave = Interleave(len(lengths))
    pending: list[list[int]] = [[] for _ in lengths]
    given_by = [0] * len(lengths)
    ended: set[int] = set()
    taken: list[tuple[int, tuple[int, int]]] = []
    while not interleave.over:
        for replica, first, count in interleave.ask(wanted):
            pending[replica].extend(range(first, first + count * len(lengths), len(lengths)))
        ready = [k for k, orders in enumerate(pending) if orders]
        assert ready, "nobody was asked, and it is not over"
        replica = chance.choice(ready)
        index = pending[replica].pop(0)
        assert index % len(lengths) == replica
        if given_by[replica] < lengths[replica]:
            interleave.give(replica, (replica, given_by[replica]))
            given_by[replica] += 1
        elif replica not in ended:
            ended.add(replica)
            interleave.end(replica)
        taken.extend(interleave.take())
    assert [batch for _, batch in taken] == in_turn(lengths)
    assert [index for index, _ in taken] == list(range(sum(lengths)))
    assert interleave.filled == sum(lengths)


@given(st.integers(1, 5), st.integers(0, 20))
def test_no_more_is_asked_for_than_is_wanted(replicas: int, wanted: int) -> None:
    """What is given and not taken, and what is under way, is never more than was wanted."""
    interleave = Interleave(replicas)
    assert sum(count for _, _, count in interleave.ask(wanted)) == wanted
    assert interleave.ask(wanted) == []
    assert sum(count for _, _, count in interleave.ask(wanted + 3)) == 3


def test_the_turn_is_that_of_the_next_batch() -> None:
    """It stays with a replica until that has given, and passes over one that has ended."""
    interleave = Interleave(3)
    assert interleave.turn == 0
    interleave.give(1, "b")
    assert list(interleave.take()) == []
    interleave.give(0, "a")
    assert list(interleave.take()) == [(0, "a"), (1, "b")]
    assert interleave.turn == 2
    interleave.end(2)
    assert list(interleave.take()) == []
    assert interleave.turn == 0
