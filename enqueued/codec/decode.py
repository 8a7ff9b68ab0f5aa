"""The decoder: the bytes of one batch, from anyone, to the batch.

The leaves are views of the root array and must keep it alive: an arena frees a slot when its root is gone. NumPy
shortens the chain of `.base` through arrays of the same type, so for that promise a root is one of

- `np.frombuffer(memoryview_or_mmap, np.uint8)`, or `np.ndarray(n, np.uint8, buffer=...)` over what is no array,
- an array that owns its memory,

and never a slice of another array: slices of leaves would then keep that other array alive, and not the root.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from enqueued.codec.dtypes import dtype_from_plain, room, shape_from_plain
from enqueued.codec.header import PREFIX_BYTES, unpack, unpack_length
from enqueued.codec.limits import (
    ALIGNMENT,
    MAX_DIM,
    MEMO_BYTES,
    MEMO_ENTRY_BYTES,
    aligned,
)
from enqueued.codec.memo import Memo
from enqueued.codec.strings import string_dtype, unpack_strings
from enqueued.codec.structure import Build, builder, expect
from enqueued.errors import ProtocolError

Root = np.ndarray[Any, Any]
_ndarray = np.ndarray


@dataclass(frozen=True, slots=True)
class Plan:
    """How a batch with a certain header is built: `nbytes` is what it takes, `structure` the header's tree.

    `start` is where its body begins.
    """

    nbytes: int
    build: Build
    structure: list[Any]
    start: int


_plans: Memo[bytes, Plan] = Memo(MEMO_BYTES, MEMO_ENTRY_BYTES)
_usual = 128
"""The length of the prefix that was seen last: looking there first saves reading the lengths."""


def decode(root: Root) -> Any:
    """Builds the batch that a 1-d uint8 array begins with; raises `ProtocolError` only, and reads nothing outside it.

    Arrays are views of `root`, writable where it is, and keep it alive (see the module); all else is copied out.
    """
    plan = _plans.get(root[:_usual].tobytes())
    if plan is None:
        plan = read_plan(root)
    if root.size < plan.nbytes:
        raise ProtocolError(f"a batch of {plan.nbytes} bytes was cut off at {root.size}")
    try:
        return plan.build(root)
    except ProtocolError:
        raise
    except Exception as error:  # NumPy's own checks, which differ between its versions
        raise ProtocolError(f"a batch does not hold together: {error}") from error


def read_plan(root: Root) -> Plan:
    """The plan for the header of `root`, remembered for equal bytes; raises `ProtocolError`."""
    global _usual  # a hint only: any value gives the same result
    if root.ndim != 1 or root.dtype != np.uint8 or not root.flags.c_contiguous:
        raise ProtocolError("a batch is decoded from a contiguous 1-d array of bytes")
    if root.size < PREFIX_BYTES:
        raise ProtocolError(f"a batch of {root.size} bytes has no header")
    length = unpack_length(root[:PREFIX_BYTES].tobytes())
    start = aligned(PREFIX_BYTES + length)
    if root.size < start:
        raise ProtocolError(f"a header of {length} bytes was cut off")
    prefix = root[:start].tobytes()
    plan = _plans.get(prefix)
    if plan is None:
        plan = _make_plan(prefix[PREFIX_BYTES : PREFIX_BYTES + length], start)
        _plans.remember(prefix, plan, start)
    _usual = start
    return plan


def _make_plan(header: bytes, start: int) -> Plan:
    plain = unpack(header)
    if not isinstance(plain, list) or len(plain) != 2:
        raise ProtocolError("a header is not a structure and a size")
    structure, size = plain
    if type(size) is not int or not 0 <= size < MAX_DIM * 256:
        raise ProtocolError("a header has an improper size of the body")
    leaves = _Leaves(start, size)
    return Plan(start + size, builder(structure, leaves.read), structure, start)


class _Leaves:
    """Reads the leaves of one header, whose places must lie in a body of `size` bytes that begins at `start`."""

    def __init__(self, start: int, size: int) -> None:
        self._start = start
        self._size = size

    def read(self, node: list[Any]) -> Build:
        """The function that builds the leaf `node`."""
        tag = node[0]
        if tag == "a":
            return self._array(node)
        if tag == "v":
            return _value(node)
        if tag == "s":
            return self._scalar(node)
        if tag == "T":
            return self._strings(node)
        if tag in ("u", "b"):
            return self._long(node)
        if tag == "z":
            return _complex(node)
        if tag == "i":
            return _big_int(node)
        raise ProtocolError(f"a batch's structure has a node {tag[:8]!r}, which is not known")

    def _place(self, offset: Any, size: int) -> int:
        if type(offset) is not int or offset < 0 or offset % ALIGNMENT or offset + size > self._size:
            raise ProtocolError(f"a leaf of {size} bytes lies outside the body")
        return self._start + offset

    def _region(self, offset: Any, size: Any) -> slice:
        if type(size) is not int or size < 0:
            raise ProtocolError("a leaf has an improper size")
        place = self._place(offset, size)
        return slice(place, place + size)

    def _array(self, node: list[Any]) -> Build:
        plain_dtype, dims, offset = expect(node, 4)
        dtype = dtype_from_plain(plain_dtype)
        shape = shape_from_plain(dims)
        place = self._place(offset, room(shape, dtype.itemsize))
        return lambda root: _ndarray(shape, dtype, root, place)

    def _scalar(self, node: list[Any]) -> Build:
        plain_dtype, where = expect(node, 3)
        dtype = dtype_from_plain(plain_dtype)
        if dtype.kind in "SU":
            if type(where) is not (str if dtype.kind == "U" else bytes):
                raise ProtocolError("a scalar of letters is not in the header")
            letters = dtype.type(where)
            return lambda root: letters
        place = self._place(where, dtype.itemsize)
        # copied first: a void scalar would be a view
        return lambda root: _ndarray((), dtype, root, place).copy()[()]

    def _strings(self, node: list[Any]) -> Build:
        dims, offset, size, missing, coerce = expect(node, 6)
        shape = shape_from_plain(dims)
        dtype = string_dtype(missing, coerce)
        region = self._region(offset, size)
        return lambda root: unpack_strings(root[region].tobytes(), shape, dtype)

    def _long(self, node: list[Any]) -> Build:
        region = self._region(*expect(node, 3))
        if node[0] == "b":
            return lambda root: root[region].tobytes()
        return lambda root: root[region].tobytes().decode("utf-8", "surrogatepass")


def _value(node: list[Any]) -> Build:
    (value,) = expect(node, 2)
    if value is not None and type(value) not in (str, bytes, bool, int, float):
        raise ProtocolError("a plain value is not str, bytes, bool, int, float or None")
    return lambda root: value


def _complex(node: list[Any]) -> Build:
    real, imaginary = expect(node, 3)
    if type(real) is not float or type(imaginary) is not float:
        raise ProtocolError("a complex number is not made of two floats")
    value = complex(real, imaginary)
    return lambda root: value


_DIGITS = 600
"""Python converts at most a set number of digits at once (never fewer than 640): long numbers go in pieces."""


def _big_int(node: list[Any]) -> Build:
    (text,) = expect(node, 2)
    digits = text.removeprefix("-") if isinstance(text, str) else ""
    if not (digits.isascii() and digits.isdigit()):
        raise ProtocolError("an int is not written in digits")
    value = 0
    for begin in range(0, len(digits), _DIGITS):
        piece = digits[begin : begin + _DIGITS]
        value = value * 10 ** len(piece) + int(piece)
    if text.startswith("-"):
        value = -value
    return lambda root: value
