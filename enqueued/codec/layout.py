"""A layout: the header of a batch and where its leaves lie, worked out once for equal tokens.

The header is msgpack `[structure, bytes of the body]`. A node of the structure is a list that begins with its tag;
offsets count from the body's begin and are multiples of 64::

    ["t", [child...]]  tuple                              ["l", [child...]]  list
    ["d", [[key, child]...]]  dict                        (keys: str, int of 64 bits, bytes, bool, None)
    ["n", name, [field...], [child...]]  named tuple      ["c", name, [field...], [child...]]  dataclass
    ["a", dtype, [dim...], offset]  array                 (dtype as in `dtypes`; bytes in C order)
    ["s", dtype, offset]  NumPy scalar                    ["s", dtype, text or bytes]  np.str_, np.bytes_
    ["T", [dim...], offset, bytes, missing, coerce]       StringDType (as in `strings`; missing: false if there is none)
    ["v", value]  None, bool, int of 64 bits, float, short str or bytes
    ["u", offset, bytes]  long str, as UTF-8              ["b", offset, bytes]  long bytes
    ["i", digits]  other int                              ["z", real, imaginary]  complex
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from enqueued.codec.dtypes import dtype_to_plain, fits, room
from enqueued.codec.header import pack, pack_prefix
from enqueued.codec.limits import (
    MAX_CHILDREN,
    MAX_DIMS,
    MAX_HEADER_BYTES,
    aligned,
)
from enqueued.codec.records import naming_fault
from enqueued.codec.tokens import (
    BOOL,
    BYTES,
    COMPLEX,
    DATA,
    DICT,
    FLOAT,
    INT,
    KEYED,
    LETTERS,
    LIST,
    LONG_BYTES,
    LONG_STR,
    NAMED,
    NONE,
    SCALAR,
    STR,
    STRINGS,
    TUPLE,
    Rejected,
    complex_bits,
    float_bits,
    key_step,
)

_BYTE = np.dtype(np.uint8)


class Layout:
    """Header and places of a batch.

    `prefix` is all before the body: lengths, header and padding. `starts`, `shapes` and `dtypes` say where each leaf
    lies, counted from the first byte, and `gaps` holds the zeros that follow each. `bare` names the leaves that are
    written as bare bytes (structured dtypes, whose padding NumPy would not copy, and types from other libraries).
    """

    __slots__ = ("bare", "dtypes", "gaps", "header", "nbytes", "prefix", "shapes", "starts")

    def __init__(self, tokens: tuple[Any, ...]) -> None:
        body = _Body()
        structure = body.node(iter(tokens))
        self.header = pack([structure, body.size])
        if len(self.header) > MAX_HEADER_BYTES:
            raise _too_long(structure, len(self.header))
        self.prefix = pack_prefix(self.header)
        start = len(self.prefix)
        self.nbytes = start + body.size
        self.starts = [start + offset for offset in body.offsets]
        self.shapes = body.shapes
        self.dtypes = [_bare(dtype) or dtype for dtype in body.dtypes]
        self.bare = [(place, bare) for place, dtype in enumerate(body.dtypes) if (bare := _bare(dtype))]
        ends = [begin + size for begin, size in zip(self.starts, body.sizes, strict=True)]
        self.gaps = [bytes(after - end) for end, after in zip(ends, [*self.starts[1:], self.nbytes], strict=False)]


def _bare(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    known = dtype.names is None and dtype.type.__module__ == "numpy"
    return None if known or dtype.itemsize == 0 else np.dtype(f"V{dtype.itemsize}")


class _Body:
    """Reads tokens into the header's nodes, and gives each leaf its place on the way."""

    def __init__(self) -> None:
        self.size = 0
        self.offsets: list[int] = []
        self.sizes: list[int] = []
        self.shapes: list[tuple[int, ...]] = []
        self.dtypes: list[np.dtype[Any]] = []

    def put(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
        if not fits(shape):
            raise Rejected(f"an array of shape {shape}, beyond {MAX_DIMS} dimensions or 2**40 along one")
        offset = aligned(self.size)
        size = room(shape, dtype.itemsize)
        self.offsets.append(offset)
        self.sizes.append(size)
        self.shapes.append(shape)
        self.dtypes.append(dtype)
        self.size = offset + size
        return offset

    def node(self, tokens: Iterator[Any]) -> list[Any]:
        tag = next(tokens)
        if isinstance(tag, np.dtype):
            shape = next(tokens)
            return ["a", self._plain(tag), list(shape), self.put(tag, shape)]
        if tag in (TUPLE, LIST):
            return self._sequence("t" if tag == TUPLE else "l", tokens)
        if tag in (DICT, KEYED):
            return self._dict(tag, tokens)
        if tag in (NAMED, DATA):
            return self._record("n" if tag == NAMED else "c", tokens)
        if tag == SCALAR:
            dtype = next(tokens)
            return ["s", self._plain(dtype), self.put(dtype, ())]
        if tag == LETTERS:
            next(tokens)
            letters = next(tokens)
            value = str.__str__(letters) if isinstance(letters, str) else b"".join((letters,))
            return ["s", letters.dtype.str, value]
        if tag in (LONG_STR, LONG_BYTES):
            size = next(tokens)
            return ["u" if tag == LONG_STR else "b", self.put(_BYTE, (size,)), size]
        if tag == STRINGS:
            shape, size, missing, coerce = (next(tokens) for _ in range(4))
            missing = float("nan") if missing == ("nan",) else missing
            return ["T", list(shape), self.put(_BYTE, (size,)), size, missing, coerce]
        return _value(tag, tokens)

    def _plain(self, dtype: np.dtype[Any]) -> Any:
        try:
            return dtype_to_plain(dtype)
        except TypeError as error:
            raise Rejected(str(error)) from None

    def _child(self, tokens: Iterator[Any], step: str) -> list[Any]:
        try:
            return self.node(tokens)
        except Rejected as rejected:
            rejected.steps.append(step)
            raise

    def _sequence(self, letter: str, tokens: Iterator[Any]) -> list[Any]:
        children = [self._child(tokens, f"[{place}]") for place in range(_bounded(next(tokens)))]
        if letter == "l":
            _refuse_ragged(children)
        return [letter, children]

    def _dict(self, tag: int, tokens: Iterator[Any]) -> list[Any]:
        keys = next(tokens)
        _bounded(len(keys))
        if tag == KEYED:
            next(tokens)
        return ["d", [[key, self._child(tokens, key_step(key))] for key in keys]]

    def _record(self, letter: str, tokens: Iterator[Any]) -> list[Any]:
        name, fields = next(tokens).__name__, next(tokens)
        fault = naming_fault(letter, name, fields)
        if fault:
            raise Rejected(f"the class {name} could not be made again elsewhere: {fault}; make it a dict")
        return [letter, name, list(fields), [self._child(tokens, f".{field}") for field in fields]]


def _value(tag: int, tokens: Iterator[Any]) -> list[Any]:
    if tag == NONE:
        return ["v", None]
    value = next(tokens)
    if tag == FLOAT:
        return ["v", float_bits.unpack(value)[0]]
    if tag == COMPLEX:
        return ["z", *complex_bits.unpack(value)]
    if tag == INT and not -(2**63) <= value < 2**64:
        return ["i", _decimal(value)]
    assert tag in (BOOL, INT, STR, BYTES)
    return ["v", value]


_CHUNK = 10**600
"""Python converts at most a set number of digits at once (never fewer than 640): long numbers go in pieces."""


def _decimal(value: int) -> str:
    if value.bit_length() > 8 * MAX_HEADER_BYTES // 2:
        raise Rejected(f"an int of {value.bit_length()} bits; make it bytes: value.to_bytes(...)")
    pieces: list[str] = []
    rest = abs(value)
    while rest >= _CHUNK:
        rest, piece = divmod(rest, _CHUNK)
        pieces.append(str(piece).zfill(600))
    pieces.append(str(rest))
    return ("-" if value < 0 else "") + "".join(reversed(pieces))


def _bounded(count: int) -> int:
    if count > MAX_CHILDREN:
        raise Rejected(f"{count} items in one container, more than {MAX_CHILDREN}; make it an array")
    return count


def _refuse_ragged(children: list[list[Any]]) -> None:
    """A list of unequal rows of numbers was meant as an array, and would be taken for one."""
    rows = [child[1] for child in children if child[0] == "l" and all(_is_number(item) for item in child[1])]
    if len(rows) < len(children) or len({len(row) for row in rows}) < 2:
        return
    first = len(rows[0])
    other = next(len(row) for row in rows if len(row) != first)
    raise Rejected(f"ragged list: rows of {first} and {other} numbers; pad them, or make each row an array")


def _is_number(node: list[Any]) -> bool:
    return node[0] in ("z", "i") or (node[0] == "v" and isinstance(node[1], (int, float)))


def _too_long(structure: list[Any], size: int) -> Rejected:
    """The error for a header past its limit, with the path to what fills it."""
    weight, steps, what = _heaviest(structure)
    rejected = Rejected(
        f"{what} takes {weight} of the header's {size} bytes, and {MAX_HEADER_BYTES} are the limit; make it an array"
    )
    rejected.steps = steps
    return rejected


def _heaviest(node: list[Any]) -> tuple[int, list[str], str]:
    """The container whose own values take most of the header: its weight, its path, and what it is."""
    letter = node[0]
    if letter not in "tldnc":
        return len(pack(node)), [], "a value"
    if letter == "d":
        pairs = [(key_step(key), child) for key, child in node[1]]
    elif letter in "nc":
        pairs = [(f".{name}", child) for name, child in zip(node[2], node[3], strict=True)]
    else:
        pairs = [(f"[{place}]", child) for place, child in enumerate(node[1])]
    names = {"t": "a tuple", "l": "a list", "d": "a dict", "n": "a named tuple", "c": "a dataclass"}
    own = sum(len(pack(child)) for _, child in pairs if child[0] not in "tldnc")
    best: tuple[int, list[str], str] = (own, [], f"{names[letter]} of {len(pairs)} values")
    for step, child in pairs:
        weight, steps, what = _heaviest(child)
        if weight > best[0] and what != "a value":
            best = (weight, [*steps, step], what)
    return best
