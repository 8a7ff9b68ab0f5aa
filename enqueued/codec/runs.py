"""Many batches of one layout at once: each leaf of all of them is one array, of which the batches get the rows."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from enqueued.codec.decode import Plan, Root, decode, read_plan
from enqueued.codec.dtypes import dtype_from_plain, shape_from_plain
from enqueued.errors import ProtocolError


def decode_run(root: Root, count: int, step: int) -> list[Any]:
    """The batches that begin at every `step` bytes of a root, as `decode` says what that is.

    All are as long as the last one, which goes to the end of `root`. In the place of one that is none stands the
    `ProtocolError` to raise for it. Raises `ProtocolError` when they cannot lie so.
    """
    nbytes = root.size - (count - 1) * step
    if count < 1 or nbytes < 1 or (count > 1 and step < nbytes):
        raise ProtocolError(f"{count} batches {step} bytes apart do not lie in {root.size}")
    with contextlib.suppress(ProtocolError, ValueError):  # what is wrong is told of each by itself
        plan = read_plan(root[:nbytes])
        if plan.nbytes <= nbytes and _alike(root, plan, count, step):
            found = _rows(plan.structure, root, plan.start, count, step)
            if found is not None:
                return found
    return [_decode(root[n * step : n * step + nbytes]) for n in range(count)]


def _decode(root: Root) -> Any:
    try:
        return decode(root)
    except ProtocolError as error:
        return error


def _alike(root: Root, plan: Plan, count: int, step: int) -> bool:
    """Whether all batches have the header of the first."""
    heads = np.ndarray((count, plan.start), np.uint8, root, 0, (step, 1))
    return heads.tobytes() == root[: plan.start].tobytes() * count


def _rows(node: list[Any], root: Root, start: int, count: int, step: int) -> list[Any] | None:
    """What a checked node stands for in each batch; None where that is not made of arrays in plain containers."""
    tag = node[0]
    if tag == "a":
        shape, dtype = shape_from_plain(node[2]), dtype_from_plain(node[1])
        if not shape:
            return None  # the rows of such a one are no arrays
        strides = [dtype.itemsize]
        for size in reversed(shape[1:]):
            strides.append(strides[-1] * size)
        place = start + node[3]
        return list(np.ndarray((count, *shape), dtype, root, place, (step, *reversed(strides))))
    if tag == "v":
        return [node[1]] * count
    if tag not in ("t", "l", "d"):
        return None
    children = [child for _, child in node[1]] if tag == "d" else node[1]
    columns = [_rows(child, root, start, count, step) for child in children]
    if not columns or None in columns:
        return None
    rows = zip(*columns, strict=True)
    if tag == "t":
        return list(rows)
    if tag == "l":
        return list(map(list, rows))
    keys = [key for key, _ in node[1]]
    return [dict(zip(keys, row, strict=True)) for row in rows]
