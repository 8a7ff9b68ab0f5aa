"""Memory for copies of small batches, used again once no array over it is left: else the heap grows and shrinks."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import numpy as np

Root = np.ndarray[Any, Any]
_MOST_IDLE = 3
_ALIGNMENT = 64


class Buffers:
    """Roots over memory of their own, like those of `Views`: leaves' bases end at them."""

    def __init__(self) -> None:
        self._idle: list[bytearray] = []
        self._alive: dict[int, tuple[weakref.ref[Root], bytearray]] = {}
        self._numbers = itertools.count()

    def take(self, nbytes: int) -> Root:
        """A 1-d array of so many bytes, which hold anything; what it begins at is a multiple of 64."""
        idle = self._idle
        buffer = idle.pop() if idle else bytearray()
        if len(buffer) < nbytes + _ALIGNMENT:
            buffer = bytearray(nbytes + _ALIGNMENT)
        whole = np.frombuffer(buffer, np.uint8)
        root = np.frombuffer(buffer, np.uint8, nbytes, -whole.__array_interface__["data"][0] % _ALIGNMENT)
        number = next(self._numbers)
        self._alive[number] = (weakref.ref(root, lambda _: self._give(number)), buffer)
        return root

    def _give(self, number: int) -> None:
        """Called wherever the last array over a root goes, at any point of the program."""
        _, buffer = self._alive.pop(number)
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(buffer)
