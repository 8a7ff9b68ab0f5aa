"""What batches look like, without one: their structure with a dtype and a shape in each place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from enqueued.codec.decode import Root, read_plan
from enqueued.codec.dtypes import dtype_from_plain, shape_from_plain
from enqueued.codec.strings import string_dtype
from enqueued.codec.structure import Build, builder, expect
from enqueued.errors import ProtocolError


@dataclass(frozen=True)
class LeafSpec:
    """One leaf: for arrays and NumPy scalars (shape ``()``) the dtype, for plain values their Python type."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | type

    def __repr__(self) -> str:
        name = self.dtype.__name__ if isinstance(self.dtype, type) else str(self.dtype)
        return f"LeafSpec(shape={self.shape}, dtype={name})"


_TYPES: dict[str, type] = {kind.__name__: kind for kind in (str, bytes, bool, int, float, complex, type(None))}


def describe(root: Root) -> list[Any]:
    """The structure of the batch in `root` as plain data: the header's nodes without places and values.

    A plain value is described by the name of its type, ``["v", "int"]``. Raises `ProtocolError`, as `decode` does.
    """
    return _described(read_plan(root).structure)


def _described(node: list[Any]) -> list[Any]:
    tag = node[0]
    if tag in ("t", "l"):
        return [tag, [_described(child) for child in node[1]]]
    if tag == "d":
        return [tag, [[key, _described(child)] for key, child in node[1]]]
    if tag in ("n", "c"):
        return [tag, node[1], node[2], [_described(child) for child in node[3]]]
    if tag == "a":
        return node[:3]
    if tag == "s":
        return node[:2]
    if tag == "T":
        return [tag, node[1], *node[4:]]
    if tag == "v":
        return [tag, type(node[1]).__name__]
    return ["v", {"i": "int", "z": "complex", "u": "str", "b": "bytes"}[tag]]


def spec(plain: Any) -> Any:
    """The Python structure that `describe` wrote down, with a `LeafSpec` in each place; raises `ProtocolError`."""
    return builder(plain, _leaf)(None)


def _leaf(node: list[Any]) -> Build:
    leaf = _leaf_spec(node)
    return lambda root: leaf


def _leaf_spec(node: list[Any]) -> LeafSpec:
    tag = node[0]
    if tag == "a":
        plain_dtype, dims = expect(node, 3)
        return LeafSpec(shape_from_plain(dims), dtype_from_plain(plain_dtype))
    if tag == "s":
        return LeafSpec((), dtype_from_plain(*expect(node, 2)))
    if tag == "T":
        dims, missing, coerce = expect(node, 4)
        return LeafSpec(shape_from_plain(dims), string_dtype(missing, coerce))
    if tag == "v":
        (name,) = expect(node, 2)
        kind = _TYPES.get(name) if isinstance(name, str) else None
        if kind is not None:
            return LeafSpec((), kind)
    raise ProtocolError(f"the description of a batch has a leaf {tag[:8]!r}, which is not known")
