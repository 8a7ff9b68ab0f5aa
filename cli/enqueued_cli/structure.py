"""What a batch is made of, as lines for people: one for each part, with its path, type, shape and size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from enqueued_cli.table import aligned, size

LONGEST = 8  # of a list with more parts than this, some are shown
SHOWN = 3


def structure(batch: Any) -> list[str]:
    """The parts of a batch, aligned; `batch` is as a trainer gets it."""
    return aligned(list(_rows("batch", batch)))


def _rows(path: str, part: Any) -> Iterator[list[str]]:
    children = _children(part)
    if children is None:
        yield [path, *_leaf(part)]
        return
    yield [path, f"{type(part).__name__} of {len(children)}", "", ""]
    some = children if len(children) <= LONGEST else children[:SHOWN]
    for step, child in some:
        yield from _rows(path + step, child)
    if len(some) < len(children):
        yield [f"{path}[...]", f"{len(children) - len(some)} more", "", ""]


def _children(part: Any) -> list[tuple[str, Any]] | None:
    """The parts of a container with the step of the path to each, or None for a leaf."""
    if isinstance(part, dict):
        return [(f"[{_quoted(key)}]", child) for key, child in part.items()]
    if isinstance(part, tuple) and hasattr(part, "_fields"):
        return [(f".{name}", child) for name, child in zip(part._fields, part, strict=True)]
    if isinstance(part, list | tuple):
        return [(f"[{number}]", child) for number, child in enumerate(part)]
    if is_dataclass(part) and not isinstance(part, type):
        return [(f".{field.name}", getattr(part, field.name)) for field in fields(part)]
    return None


def _leaf(part: Any) -> list[str]:
    if hasattr(part, "dtype") and hasattr(part, "shape"):
        return [str(part.dtype), str(tuple(part.shape)), size(part.nbytes)]
    text = repr(part)
    return [type(part).__name__, text if len(text) <= 40 else text[:37] + "...", ""]


def _quoted(key: Any) -> str:
    return '"' + key.replace('"', '\\"') + '"' if isinstance(key, str) else repr(key)
