from __future__ import annotations

from collections import Counter
from itertools import permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enqueued.source.permutation import LARGEST, SMALL, ShuffledOrder, feistel, shuffled, shuffled_one
from enqueued.source.seeding import finalize, mix

# Chi-square values that 1 in 100,000 good shuffles would pass, by Wilson and Hilferty's approximation (z = 4.26).
_Z = 4.26


def critical(degrees: int) -> float:
    return float(degrees * (1 - 2 / (9 * degrees) + _Z * (2 / (9 * degrees)) ** 0.5) ** 3)


def chi_square(counts: list[int], cells: int) -> float:
    expected = sum(counts) / cells
    return sum((count - expected) ** 2 for count in counts) / expected + (cells - len(counts)) * expected


def whole(seed: int, epoch: int, n: int) -> list[int]:
    return [int(one) for one in shuffled(seed, epoch, n, 0, n)]


def test_the_order_is_this_one_for_ever() -> None:
    """A state saved today is resumed by a later version: these orders never change."""
    assert whole(1, 0, 10) == GOLDEN_SMALL
    assert [int(one) for one in shuffled(1, 0, 10**12, 0, 4)] == GOLDEN_LARGE


GOLDEN_SMALL = [1, 7, 4, 3, 9, 5, 8, 2, 6, 0]
GOLDEN_LARGE = [189335061633, 81232127018, 135444301071, 148604028055]


@given(st.integers(0, 2**64 - 1), st.integers(0, 1000), st.integers(1, 500))
def test_a_small_order_is_a_permutation(seed: int, epoch: int, n: int) -> None:
    """Each number comes once."""
    assert sorted(whole(seed, epoch, n)) == list(range(n))


@given(st.integers(0, 2**64 - 1), st.integers(1, 700))
def test_the_network_is_a_permutation_of_any_size(key: int, n: int) -> None:
    """Also where the grid is larger than n, and for one and two."""
    assert np.array_equal(np.sort(feistel(key, n, np.arange(n, dtype=np.uint64))), np.arange(n))


@pytest.mark.parametrize("n", [SMALL, SMALL + 1, 10_007, 65_536, 65_537, 99 * 101])
def test_a_large_order_is_a_permutation(n: int) -> None:
    """On both sides of the border between the two ways, for primes, squares and their neighbours."""
    assert np.array_equal(np.sort(shuffled(3, 1, n, 0, n)), np.arange(n))


@settings(max_examples=50)
@given(st.integers(1, 10**12), st.integers(0, 2**64 - 1), st.data())
def test_a_part_of_an_order_is_what_the_whole_has_there(n: int, seed: int, data: st.DataObject) -> None:
    """Any worker may ask for any part, and never gets a number twice or one outside."""
    start = data.draw(st.integers(0, n - 1))
    part = shuffled(seed, 0, n, start, min(n, start + 100))
    assert len(np.unique(part)) == len(part)
    assert part.min() >= 0
    assert part.max() < n
    assert part.dtype == np.int64
    assert shuffled_one(seed, 0, n, start + len(part) - 1) == part[-1]


def test_the_largest_order_is_in_reach() -> None:
    """2**62 places need no memory and do not overflow."""
    last = shuffled(0, 0, LARGEST, LARGEST - 1000, LARGEST)
    assert len(np.unique(last)) == 1000
    assert last.min() >= 0
    assert last.max() < LARGEST


@pytest.mark.parametrize(("start", "stop", "n"), [(-1, 1, 5), (0, 6, 5), (3, 2, 5), (0, 1, LARGEST + 1)])
def test_places_outside_the_order_are_refused(start: int, stop: int, n: int) -> None:
    """An error, not a number that belongs to no sample."""
    with pytest.raises(IndexError, match=f"order of {n}"):
        shuffled(0, 0, n, start, stop)


def test_epochs_and_seeds_have_different_orders() -> None:
    """A hundred epochs of two seeds are two hundred orders."""
    orders = {tuple(whole(seed, epoch, 50)) for seed in range(2) for epoch in range(100)}
    assert len(orders) == 200


@pytest.mark.parametrize("n", [3, 4, 5])
def test_all_permutations_are_equally_likely(n: int) -> None:
    """Over epochs each of the n! orders comes as often as the others."""
    counts = Counter(tuple(whole(11, epoch, n)) for epoch in range(60 * factorial(n)))
    assert set(counts) == set(permutations(range(n)))
    assert chi_square(list(counts.values()), factorial(n)) < critical(factorial(n) - 1)


@pytest.mark.parametrize("n", [2, 7, 64])
def test_each_place_gets_each_number_equally_often(n: int) -> None:
    """The table of place against number is flat."""
    epochs = 200 * n
    table = np.zeros((n, n), np.int64)
    for epoch in range(epochs):
        table[np.arange(n), shuffled(12, epoch, n, 0, n)] += 1
    expected = epochs / n
    statistic = float(((table - expected) ** 2 / expected).sum())
    assert statistic < critical((n - 1) ** 2)


@pytest.mark.parametrize("n", [SMALL + 1, 70 * 70, 10_007])
def test_the_network_spreads_over_all_numbers(n: int) -> None:
    """Six rounds: numbers at a place, differences of neighbours and pairs of places are flat in 32 classes."""
    epochs = 3000
    first = np.array([shuffled(13, epoch, n, 0, 2) for epoch in range(epochs)])
    classes = first * 32 // n
    assert chi_square(np.bincount(classes[:, 0], minlength=32).tolist(), 32) < critical(31)
    assert chi_square(np.bincount(classes[:, 1], minlength=32).tolist(), 32) < critical(31)
    pairs = classes[:, 0] // 4 * 8 + classes[:, 1] // 4
    assert chi_square(np.bincount(pairs, minlength=64).tolist(), 64) < critical(63)
    steps = ((first[:, 1] - first[:, 0]) % n) * 32 // n
    assert chi_square(np.bincount(steps, minlength=32).tolist(), 32) < critical(31)


def test_the_mean_at_each_place_is_near_the_middle() -> None:
    """Over 400 epochs no place has a mean beyond five standard errors."""
    n, epochs = SMALL + 100, 400
    total = np.zeros(n)
    for epoch in range(epochs):
        total += shuffled(14, epoch, n, 0, n)
    error = n / (12 * epochs) ** 0.5
    assert np.abs(total / epochs - (n - 1) / 2).max() < 5 * error


def test_neighbours_in_the_data_are_not_neighbours_in_the_order() -> None:
    """The order and its places are uncorrelated, and so are successive numbers."""
    n = 200_000
    order = shuffled(15, 0, n, 0, n).astype(np.float64)
    bound = 5 / n**0.5
    assert abs(np.corrcoef(order, np.arange(n))[0, 1]) < bound
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < bound


def test_an_order_has_as_many_descents_and_fixed_points_as_a_random_one() -> None:
    """About half of the steps go down, and about one number stays where it was."""
    n = 100_000
    order = shuffled(16, 0, n, 0, n)
    descents = int((np.diff(order) < 0).sum())
    assert abs(descents - n / 2) < 5 * (n / 12) ** 0.5
    fixed = sum(int((shuffled(16, epoch, n, 0, n) == np.arange(n)).sum()) for epoch in range(20))
    assert 3 <= fixed <= 50


@given(st.integers(1, 6000), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 10**6)), max_size=12))
@settings(max_examples=40)
def test_reading_in_chunks_gives_the_same_order(n: int, asked: list[tuple[int, int]]) -> None:
    """Whatever is asked in whatever order, forwards, back, or in another epoch."""
    order = ShuffledOrder(17)
    for epoch, place in asked:
        start = place % n
        stop = min(n, start + 7)
        assert order.take(epoch, n, start, stop) == shuffled(17, epoch, n, start, stop).tolist()


def test_orders_give_python_ints() -> None:
    """A user's index code may not accept NumPy's."""
    assert {type(one) for one in ShuffledOrder(0).take(0, 5000, 0, 64)} == {int}


def test_the_order_shares_no_key_with_a_batch() -> None:
    """The order's key is the mix at an index that no batch has."""
    assert whole(1, 0, 10) == np.argsort(_keys(mix(1, 0, -3), 10), kind="stable").tolist()


def _keys(key: int, n: int) -> list[int]:
    return [finalize((key + (one + 1) * 0x9E3779B97F4A7C15) % 2**64) for one in range(n)]
