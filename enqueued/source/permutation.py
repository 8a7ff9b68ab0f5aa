"""The shuffled order of an epoch, as a pure function of (seed, epoch, n) in constant memory.

Up to `SMALL` the order is the sorting order of 64-bit random keys: every permutation is equally likely. Beyond, it is
a Feistel network over a grid of a * b cells just larger than n, and what falls outside n walks on along its cycle
(Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002), so that 10**12 samples need no memory.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from enqueued.source.seeding import epoch_key, mix

SMALL = 4096
LARGEST = 1 << 62
_ROUNDS = 6
_CHUNK = 2048
_ORDER = -3  # an index that no batch has, so that the order shares no key with a batch's randomness
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)


def shuffled(seed: int, epoch: int, n: int, start: int, stop: int) -> NDArray[np.int64]:
    """What stands at places `start` to `stop` of the epoch's shuffled order of range(n)."""
    if not 0 <= start <= stop <= n <= LARGEST:
        raise IndexError(f"places {start} to {stop} are not within an order of {n} (at most 2**62)")
    if n <= SMALL:
        return _sorted_keys(mix(seed, epoch, _ORDER), n)[start:stop]
    return feistel(mix(seed, epoch, _ORDER), n, np.arange(start, stop, dtype=np.uint64))


def shuffled_one(seed: int, epoch: int, n: int, place: int) -> int:
    """What stands at one place of the epoch's shuffled order of range(n)."""
    return int(shuffled(seed, epoch, n, place, place + 1)[0])


class ShuffledOrder:
    """Reads one seed's orders, a chunk at a time: workers ask for places that are near each other."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._chunk: tuple[int, int, int, list[int]] = (-1, -1, 0, [])

    def take(self, epoch: int, n: int, start: int, stop: int) -> list[int]:
        """What stands at places `start` to `stop`, as Python ints, which every user's index code accepts."""
        made_epoch, made_n, first, values = self._chunk  # read once: threads of a thread pool share this object
        if made_epoch != epoch or made_n != n or start < first or stop > first + len(values):
            first = start
            values = shuffled(self._seed, epoch, n, start, min(n, max(stop, start + _CHUNK))).tolist()
            self._chunk = (epoch, n, first, values)
        return values[start - first : stop - first]


@lru_cache(maxsize=4)
def _sorted_keys(key: int, n: int) -> NDArray[np.int64]:
    order = np.argsort(_finalize(np.uint64(key) + np.arange(1, n + 1, dtype=np.uint64) * _GAMMA), kind="stable")
    order.flags.writeable = False
    return order.astype(np.int64, copy=False)


def feistel(key: int, n: int, places: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Maps places to values, one to one over range(n); `places` must be below n, and n at most 2**62."""
    a = isqrt(max(n - 1, 0)) + 1
    b = -(-n // a)
    keys = [np.uint64(epoch_key(key, turn)) for turn in range(_ROUNDS)]
    values = _network(places, a, b, keys)
    outside = np.flatnonzero(values >= n)
    while outside.size:
        moved = _network(values[outside], a, b, keys)
        values[outside] = moved
        outside = outside[moved >= n]
    return values.view(np.int64)


def _network(values: NDArray[np.uint64], a: int, b: int, keys: list[np.uint64]) -> NDArray[np.uint64]:
    rows, columns = np.uint64(a), np.uint64(b)
    left, right = np.divmod(values, columns)
    for turn, key in enumerate(keys):
        if turn % 2 == 0:
            left = (left + _finalize((right + key) * _GAMMA) % rows) % rows
        else:
            right = (right + _finalize((left + key) * _GAMMA) % columns) % columns
    return left * columns + right


def _finalize(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`seeding.finalize` over an array, in place."""
    state ^= state >> _S30
    state *= _M1
    state ^= state >> _S27
    state *= _M2
    state ^= state >> _S31
    return state
