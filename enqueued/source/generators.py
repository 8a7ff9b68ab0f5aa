"""Seeding that is left out while nobody draws: it is most of what a small batch costs that needs no random numbers.

A batch of an indexed source can be made again with the same result. So a source that has left the global generators
alone for a while is no longer seeded for, but looked after: when it touches them after all, the generators are seeded
and the batch is made once more. What comes out is the same as if every position had been seeded.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from enqueued.source.seeding import at, seed_generators, seed_torch

_STREAK = 64
"""So many makes in a row must leave the generators alone."""
_GROWTH = 8
"""After each make that did not, so many times as many: ten million batches are at most six times made again."""
_BRIEF_S = 200e-6
"""A longer make gains nothing, and would cost much to make again."""
_WORDS = 624
"""Of a Mersenne Twister, 32 bits each, beside the place in them."""
_BYTES = 4 * (_WORDS + 1)


class Watch:
    """Sees whether the global generators of random and NumPy were drawn from, seeded, replaced or read since a mark.

    Their states are looked at where they lie, which costs 0.2 us. Drawing changes the place, or all of the words, as
    seeding does: two pairs of words tell. What leaves no trace there says so itself, through `note`: whoever reads a
    state, and perhaps puts it back, and the fork of a child that inherits it.
    """

    def __init__(self, plain: memoryview, numpy: memoryview, bit_generator: Any, current: Callable[[], Any]) -> None:
        self._plain = plain[: _BYTES - 4].cast("Q")  # from the place on, which comes first there
        self._numpy = numpy[4:].cast("Q")  # up to the place, which comes last
        self._bit_generator = bit_generator
        self._current = current
        self._noted = True
        self._marked = (0, 0, 0, 0)

    def note(self) -> None:
        """Somebody sees a state."""
        self._noted = True

    def mark(self) -> None:
        """What was done so far does not count."""
        plain, numpy = self._plain, self._numpy
        self._marked = (plain[0], plain[1], numpy[0], numpy[-1])
        self._noted = False

    def touched(self) -> bool:
        """Whether anything was done to the generators since the mark."""
        plain, numpy = self._plain, self._numpy
        return (
            (plain[0], plain[1], numpy[0], numpy[-1]) != self._marked
            or self._noted
            or self._current() is not self._bit_generator
        )


_watch: Watch | None = None


def watch_generators() -> None:
    """Watches this process's generators from now on; without that every position is seeded for.

    To be called before the user's code is imported, which may keep what is replaced here: `random.getstate`, and
    NumPy's bit generator. Where the states do not lie as they do in CPython and NumPy, nothing is watched.
    """
    global _watch
    if _watch is not None or sys.implementation.name != "cpython":
        return
    import numpy.random

    legacy: Any = numpy.random  # the stubs do not know of its bit generator
    inner: Any = random.seed.__self__  # type: ignore[attr-defined] # a bound method
    former = legacy.get_bit_generator()
    if type(former) is not numpy.random.MT19937:
        return
    bit_generator = _telling(lambda: watch.note())
    bit_generator.state = former.state
    state, words = former.state["state"], inner.getstate()[1]
    plain = _memory(inner, id(inner) + object.__basicsize__, [words[-1], *words[:-1]])
    found = _memory(bit_generator, bit_generator.ctypes.state_address, [*state["key"].tolist(), state["pos"]])
    if plain is None or found is None:
        return
    watch = Watch(plain, found, bit_generator, legacy.get_bit_generator)
    getstate = inner.getstate

    def telling_getstate() -> Any:
        watch.note()
        return getstate()

    random.getstate = inner.getstate = telling_getstate  # copying and pickling go through the latter
    legacy.set_bit_generator(bit_generator)
    os.register_at_fork(before=watch.note)
    _watch = watch


def _telling(note: Callable[[], None]) -> Any:
    """A bit generator that says when its state is read; its name is its base's, for a state holds its class's name."""
    from numpy.random import MT19937 as Plain

    base: Any = Plain

    class MT19937(base):  # type: ignore[misc]
        @property
        def state(self) -> Any:
            note()
            return super().state

        @state.setter
        def state(self, value: Any) -> None:
            base.state.__set__(self, value)

        def __reduce__(self) -> Any:
            make, arguments, *state = super().__reduce__()
            return make, tuple(Plain if one is MT19937 else one for one in arguments), *state

    return MT19937(0)


def _memory(owner: Any, address: int, words: list[int]) -> memoryview | None:
    """The bytes of a state that lies in `owner`, if these words are found there."""
    import ctypes

    size = max(kind.__basicsize__ for kind in type(owner).__mro__)
    if not id(owner) <= address <= id(owner) + size - _BYTES:
        return None
    found = memoryview((ctypes.c_ubyte * _BYTES).from_address(address)).toreadonly().cast("B")
    return found if found.cast("I").tolist() == words else None


class Seeder:
    """Makes one source's batches, with the generators seeded for each position or left alone."""

    def __init__(self) -> None:
        self._idle = False
        """Whether the generators are left alone."""
        self._untouched = 0
        self._streak = _STREAK

    def make(self, fetch: Callable[[int, int], Any], seed: int, epoch: int, index: int) -> Any:
        """What `fetch` gives or raises when the generators are seeded for this position."""
        watch = _watch
        if watch is None:
            seed_generators(seed, epoch, index)
            return fetch(epoch, index)
        if self._idle:
            seed_torch(seed, epoch, index)
            try:
                batch = fetch(epoch, index)
            except KeyboardInterrupt:
                raise
            except BaseException:
                if not watch.touched():
                    raise
            else:
                if not watch.touched():
                    return batch
                del batch
            self._idle = False
            self._streak *= _GROWTH
            at(seed, epoch, index)  # anew, so that `rng` begins again too
        seed_generators(seed, epoch, index)
        watch.mark()
        if self._untouched < self._streak - 1:
            batch = fetch(epoch, index)
            self._untouched = 0 if watch.touched() else self._untouched + 1
            return batch
        self._untouched = 0
        began = time.monotonic()
        batch = fetch(epoch, index)
        self._idle = time.monotonic() - began < _BRIEF_S and not watch.touched()
        return batch
