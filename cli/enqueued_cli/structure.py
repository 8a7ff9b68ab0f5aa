"""What a batch is made of, as lines for people: one for each part, with its path, type, shape and size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from enqueued.source.comparison import children, key_step
from enqueued_cli.table import aligned, size

LONGEST = 8  # of a list with more parts than this, some are shown
SHOWN = 3


def structure(batch: Any) -> list[str]:
    """The parts of a batch, aligned; `batch` is as a trainer gets it."""
    return aligned(list(_rows("batch", batch)))


def _rows(path: str, part: Any) -> Iterator[list[str]]:
    parts = _parts(part)
    if parts is None:
        yield [path, *_leaf(part)]
        return
    yield [path, f"{type(part).__name__} of {len(parts)}", "", ""]
    some = parts if len(parts) <= LONGEST else parts[:SHOWN]
    for step, child in some:
        yield from _rows(path + step, child)
    if len(some) < len(parts):
        yield [f"{path}[...]", f"{len(parts) - len(some)} more", "", ""]


def _parts(part: Any) -> list[tuple[str, Any]] | None:
    """The parts of a container, also of a dict, with the step of the path to each, or None for a leaf."""
    if isinstance(part, dict):
        return [(key_step(key), child) for key, child in part.items()]
    return children(part)


def _leaf(part: Any) -> list[str]:
    if hasattr(part, "dtype") and hasattr(part, "shape"):
        return [str(part.dtype), str(tuple(part.shape)), size(part.nbytes)]
    text = repr(part)
    return [type(part).__name__, text if len(text) <= 40 else text[:37] + "...", ""]
