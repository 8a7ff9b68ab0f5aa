"""The encoder: a batch to the bytes that lie in a slot, go over the wire and into the spool."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

import numpy as np

from enqueued.codec.foreign import Array
from enqueued.codec.layout import Layout
from enqueued.codec.limits import MEMO_BYTES, MEMO_ENTRY_BYTES
from enqueued.codec.memo import Memo
from enqueued.codec.tokens import Rejected
from enqueued.codec.tree import flatten, pack_string_arrays
from enqueued.errors import EncodeError

_ndarray = np.ndarray
_layouts: Memo[tuple[Any, ...], Layout] = Memo(MEMO_BYTES, MEMO_ENTRY_BYTES)
_usual: tuple[list[Any], Layout | None] = ([], None)
"""The tokens that were seen last, and their layout: to compare them costs less than to look them up."""

JOINED_BYTES = 32 * 1024
"""Up to this size a batch is joined in one piece and copied again: below it, calls cost more than bytes."""


class Encoded:
    """A batch that is ready to be written: it refers to the arrays of the batch, so write it before they change.

    `nbytes` is the whole size: prefix, header, padding and leaves.
    """

    __slots__ = ("layout", "leaves", "nbytes")

    def __init__(self, layout: Layout, leaves: list[Array]) -> None:
        self.layout = layout
        self.leaves = leaves
        self.nbytes = layout.nbytes

    @property
    def header(self) -> bytes:
        """The msgpack header alone."""
        return self.layout.header

    def checksum(self) -> str:
        """16 hexadecimal digits that follow from the bytes of the batch alone."""
        memory = bytearray(self.nbytes)
        self.write_into(memoryview(memory))
        return hashlib.blake2b(memory, digest_size=8).hexdigest()

    def write_into(self, target: memoryview, there: Collection[int] = ()) -> None:
        """Writes the batch to the first `nbytes` of a writable `target` of bytes.

        Each leaf is copied once, straight from its array, in C order, but for those (by number) that are `there`.
        """
        layout = self.layout
        if self.nbytes <= JOINED_BYTES and not there:
            parts = [layout.prefix, *map(_ndarray.tobytes, self.leaves)]
            if any(layout.gaps):
                parts[1:] = [part for pair in zip(parts[1:], layout.gaps, strict=True) for part in pair]
            target[: self.nbytes] = b"".join(parts)
            return
        target[: len(layout.prefix)] = layout.prefix
        places = zip(layout.starts, layout.gaps, [*layout.starts[1:], self.nbytes], strict=True)
        for number, (start, gap, after) in enumerate(places):
            if number not in there:
                array: Array = _ndarray(layout.shapes[number], layout.dtypes[number], target, start)
                array[...] = self.leaves[number]
            if gap:
                target[after - len(gap) : after] = gap


def encode(batch: Any) -> Encoded:
    """Lays out a batch; raises `EncodeError`, with the path in the batch, for what cannot travel.

    Arrays and NumPy scalars keep dtype, shape and every bit. Named tuples and dataclasses are sent by name and
    fields. Subclasses of the plain types and other mappings are sent as what they extend, tensors as arrays.
    """
    tokens: list[Any] = []
    leaves: list[Array] = []
    global _usual  # a hint only: most batches are like the one before
    try:
        flatten(batch, tokens, leaves)
        usual, layout = _usual
        if tokens != usual or layout is None:
            layout = _layouts.get(tuple(tokens))
            if layout is None:
                layout = _lay_out(tokens, leaves)
            else:
                _usual = tokens, layout
    except Rejected as rejected:
        raise EncodeError(str(rejected)) from None
    for place, bare in layout.bare:
        leaves[place] = leaves[place].view(bare)
    return Encoded(layout, leaves)


def _lay_out(tokens: list[Any], leaves: list[Array]) -> Layout:
    if pack_string_arrays(tokens, leaves):
        known = _layouts.get(tuple(tokens))
        if known is not None:
            return known
    key = tuple(tokens)
    layout = Layout(key)
    _layouts.remember(key, layout, len(layout.header))
    return layout
