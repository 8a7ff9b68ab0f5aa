"""The header's tree of nodes, checked and turned into a function that builds the batch.

Nodes come from a peer: all that is not exactly as the encoder writes it is a `ProtocolError`. Containers are the
same wherever the tree is read (a batch, or only its description); what a leaf becomes is the caller's affair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from enqueued.codec.limits import MAX_CHILDREN, MAX_DEPTH
from enqueued.codec.records import naming_fault, record_class
from enqueued.errors import ProtocolError

Build = Callable[[Any], Any]
"""Builds what a node stands for from the root array."""
ReadLeaf = Callable[[list[Any]], Build]


def builder(node: Any, read_leaf: ReadLeaf, depth: int = 0) -> Build:
    """The function that builds `node`; `read_leaf` is asked for every node that is no container."""
    if not isinstance(node, list) or not node or not isinstance(node[0], str):
        raise ProtocolError("a node of a batch's structure is not a list that begins with its tag")
    read = _CONTAINERS.get(node[0])
    if read is None:
        return read_leaf(node)
    if depth >= MAX_DEPTH:
        raise ProtocolError(f"a batch is nested deeper than {MAX_DEPTH} levels")
    return read(node, read_leaf, depth + 1)


def expect(node: list[Any], length: int) -> list[Any]:
    """What follows the tag of a node, which must have `length` items in all."""
    if len(node) != length:
        raise ProtocolError(f"a node {node[0][:8]!r} of a batch's structure has {len(node)} items, not {length}")
    return node[1:]


def _children(plain: Any, read_leaf: ReadLeaf, depth: int) -> list[Build]:
    if not isinstance(plain, list) or len(plain) > MAX_CHILDREN:
        raise ProtocolError(f"the children of a node are not a list of at most {MAX_CHILDREN}")
    return [builder(child, read_leaf, depth) for child in plain]


def _tuple(node: list[Any], read_leaf: ReadLeaf, depth: int) -> Build:
    (plain,) = expect(node, 2)
    children = _children(plain, read_leaf, depth)
    if len(children) == 2:
        # most batches are a pair, and a pair needs no list in between
        first, second = children
        return lambda root: (first(root), second(root))
    return lambda root: tuple([build(root) for build in children])


def _list(node: list[Any], read_leaf: ReadLeaf, depth: int) -> Build:
    (plain,) = expect(node, 2)
    children = _children(plain, read_leaf, depth)
    return lambda root: [build(root) for build in children]


def _dict(node: list[Any], read_leaf: ReadLeaf, depth: int) -> Build:
    (pairs,) = expect(node, 2)
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise ProtocolError("a dict is not a list of pairs")
    keys = [pair[0] for pair in pairs]
    if not all(key is None or type(key) in (str, int, bytes, bool) for key in keys):
        raise ProtocolError("a dict has a key that is not str, int, bytes, bool or None")
    if len(set(keys)) != len(keys):
        raise ProtocolError("a dict has a key twice")
    children = list(zip(keys, _children([pair[1] for pair in pairs], read_leaf, depth), strict=True))
    return lambda root: {key: build(root) for key, build in children}


def _record(node: list[Any], read_leaf: ReadLeaf, depth: int) -> Build:
    name, fields, plain = expect(node, 4)
    if not isinstance(name, str) or not isinstance(fields, list) or not all(isinstance(f, str) for f in fields):
        raise ProtocolError("a record is not named by strings")
    names = tuple(fields)
    fault = naming_fault(node[0], name, names)
    if fault:
        raise ProtocolError(f"a record has improper names: {fault}")
    children = _children(plain, read_leaf, depth)
    if len(children) != len(names):
        raise ProtocolError(f"a record has {len(names)} fields and {len(children)} values")
    kind = record_class(node[0], name, names)
    if node[0] == "n":
        return lambda root: tuple.__new__(kind, [build(root) for build in children])

    pairs = list(zip(names, children, strict=True))

    def build_dataclass(root: Any) -> Any:
        made = object.__new__(kind)
        made.__dict__.update({field: build(root) for field, build in pairs})
        return made

    return build_dataclass


_CONTAINERS: dict[str, Callable[[list[Any], ReadLeaf, int], Build]] = {
    "t": _tuple,
    "l": _list,
    "d": _dict,
    "n": _record,
    "c": _record,
}
