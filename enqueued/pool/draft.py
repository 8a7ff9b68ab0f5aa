"""A batch that is built in its slot."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from enqueued.arena.segment import Slot
from enqueued.codec.encode import Encoded
from enqueued.codec.layout import Layout

_MOST_KEPT = 2
"""So many slots may wait for arrays that a source has kept; meanwhile it is given arrays outside of slots."""

Array = np.ndarray[Any, Any]
Reference = weakref.ref[Array]
Found = tuple[Slot, memoryview]


class Draft:
    """The slot of the batch that one lane is making, laid out as the batch before it was.

    `take` finds a slot or gives None, `give` takes one back. What `empty` gives lies at a leaf's own place, so the
    bytes of the slot are the same as if the batch had been copied there.
    """

    def __init__(self, take: Callable[[int], Found | None], give: Callable[[Slot], None]) -> None:
        self.asked = False
        """Whether the source has asked for an array of this batch."""
        self._take = take
        self._give = give
        self._open = False
        self._layout: Layout | None = None
        """Of the last batch for which an array was asked."""
        self._found: Found | None = None
        self._arrays: dict[int, Reference] = {}
        """What was given for the leaves of the layout; an array lives as long as any view of it."""
        self._kept: list[tuple[Slot, list[Reference]]] = []

    def begin(self) -> None:
        """A batch is being made."""
        self._open, self.asked = True, False

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        """An array at the place of the first leaf of this kind that was not asked for yet; None if there is none."""
        if not self._open:
            return None
        self.asked = True
        layout = self._layout
        if layout is None:
            return None
        kinds = enumerate(zip(layout.shapes, layout.dtypes, strict=True))
        leaf = next((n for n, kind in kinds if kind == (shape, dtype) and n not in self._arrays), None)
        if leaf is None or not self._has_slot(layout.nbytes):
            return None
        assert self._found is not None
        array: Array = np.ndarray(shape, dtype, self._found[1], layout.starts[leaf])
        self._arrays[leaf] = weakref.ref(array)
        return array

    def _has_slot(self, nbytes: int) -> bool:
        if self._found is None:
            self._sweep()
            if len(self._kept) < _MOST_KEPT:
                self._found = self._take(nbytes)
        return self._found is not None

    def write(self, encoded: Encoded) -> Found | None:
        """Write what does not lie in the slot yet; None when the batch has to be copied as a whole, to another one."""
        self._layout = layout = encoded.layout
        if self._found is None or layout.nbytes > self._found[0].nbytes:
            return None
        slot, memory = self._found
        whole = np.frombuffer(memory, np.uint8)
        begin = _address(whole)
        there = set()
        for number, leaf in enumerate(encoded.leaves):
            if leaf.flags.c_contiguous and _address(leaf) == begin + layout.starts[number]:
                there.add(number)
            elif np.may_share_memory(leaf, whole):
                return None  # it lies where another leaf belongs
        encoded.write_into(memory, there)
        return slot._replace(nbytes=layout.nbytes), memory[: layout.nbytes]

    def release(self) -> bool:
        """Let go of the slot, for it is handed on; not when the source has kept an array of it.

        To be asked when nothing but the source can hold the batch any more.
        """
        if any(array() is not None for array in self._arrays.values()):
            return False
        self._found = None
        self._arrays = {}
        return True

    def end(self) -> None:
        """The batch is made, or cannot be: a slot that was not handed on goes back once nobody has an array of it."""
        self._open = False
        if self._found is not None:
            self._kept.append((self._found[0], list(self._arrays.values())))
            self._found = None
            self._arrays = {}
            self._sweep()

    def _sweep(self) -> None:
        for slot, arrays in list(self._kept):
            if all(array() is None for array in arrays):
                self._kept.remove((slot, arrays))
                self._give(slot)


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
