"""Memory for copies of small batches, used again once no array over it is left: else the heap grows and shrinks."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

import numpy as np

from enqueued.arena.segment import SMALL
from enqueued.wire.messages import MOST_TOGETHER

Root = np.ndarray[Any, Any]
_MOST_IDLE = 3
_ALIGNMENT = 64
_MOST_BYTES = MOST_TOGETHER * SMALL + _ALIGNMENT
"""Larger ones are not kept."""


class _Reference(weakref.ref[Root]):
    """Tells when the last array over a root goes, and which memory that was."""

    __slots__ = ("buffer",)
    buffer: bytearray


class Buffers:
    """Roots over memory of their own, like those of `Views`: leaves' bases end at them."""

    def __init__(self) -> None:
        self._idle: list[bytearray] = []
        self._alive: dict[int, _Reference] = {}
        self._dead: deque[Any] = deque()
        """References whose root is gone. That they are put there in no code of ours matters: it may be anywhere in the
        trainer's program, and a signal's handler that raises there would be heard by nobody."""

    def take(self, nbytes: int) -> Root:
        """A 1-d array of so many bytes, which hold anything; what it begins at is a multiple of 64."""
        idle, dead = self._idle, self._dead
        while dead:
            gone = dead.popleft()
            self._alive.pop(id(gone), None)
            if len(idle) < _MOST_IDLE and len(gone.buffer) <= _MOST_BYTES:
                idle.append(gone.buffer)
        buffer = idle.pop() if idle else bytearray()
        if len(buffer) < nbytes + _ALIGNMENT:
            buffer = bytearray(nbytes + _ALIGNMENT)
        whole = np.frombuffer(buffer, np.uint8)
        root = np.frombuffer(buffer, np.uint8, nbytes, -whole.__array_interface__["data"][0] % _ALIGNMENT)
        reference = _Reference(root, dead.append)
        reference.buffer = buffer
        self._alive[id(reference)] = reference
        return root
