"""Stand-ins for the named tuples and dataclasses of a source, made from names alone.

The decoder never imports the user's classes: it makes classes with the same name and fields. Both
`collections.namedtuple` and `dataclasses.make_dataclass` run generated code that holds the names, so a name from a
peer passes the same strict check as Python's own parser would make, and more.
"""

from __future__ import annotations

import collections
import dataclasses
import keyword
import unicodedata
from typing import Any

from enqueued.codec.limits import MAX_FIELDS, MAX_NAME_CHARS
from enqueued.codec.memo import Memo

_classes: Memo[tuple[str, str, tuple[str, ...]], type[Any]] = Memo(limit=256, largest=256)
_named_tuple: Any = collections.namedtuple  # mypy wants to see the names, known only at run time


def naming_fault(kind: str, name: str, fields: tuple[str, ...]) -> str:
    """What is wrong with the names of a record of `kind` ``n`` (named tuple) or ``c`` (dataclass), or nothing."""
    if not _is_name(name):
        return f"the class name {name[:40]!r} is not an identifier"
    if len(fields) > MAX_FIELDS:
        return f"{len(fields)} fields, more than {MAX_FIELDS}"
    if len(set(fields)) != len(fields):
        return "a field's name occurs twice"
    for index, field in enumerate(fields):
        # namedtuple(rename=True) gives _0, _1, ... to unfit names; any other underscore it refuses itself
        private = field.startswith("_" if kind == "n" else "__") and field != f"_{index}"
        if private or not _is_name(field):
            return f"the field name {field[:40]!r} is not a public identifier"
    return ""


def _is_name(name: str) -> bool:
    return (
        len(name) <= MAX_NAME_CHARS
        and name.isidentifier()
        and not keyword.iskeyword(name)
        # the parser normalises names: two that differ here could be one there
        and unicodedata.normalize("NFKC", name) == name
    )


def record_class(kind: str, name: str, fields: tuple[str, ...]) -> type[Any]:
    """The stand-in class; call `naming_fault` first, this one trusts its names."""
    key = (kind, name, fields)
    known: type[Any] | None = _classes.get(key)
    if known is not None:
        return known
    made: type[Any] = (
        _named_tuple(name, fields, rename=True) if kind == "n" else dataclasses.make_dataclass(name, fields)
    )
    _classes.remember(key, made, 1)
    return made
