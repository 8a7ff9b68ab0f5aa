"""Python objects on their way between the processes of one program: pickled, with the bytes of arrays beside it.

What is unpacked refers to the memory where it lies, so that nothing large is copied twice. For processes that trust
each other: unpacking runs code. A batch in a slot has this form; `edition.py` is for what goes in memory files. ::

    4 bytes   number of buffers
    4 bytes   all ones, where an encoded batch has its version
    8 bytes   size of the pickle
    16 bytes  for each buffer: where it begins, its size
    ...       the pickle (protocol 5), then the buffers, each on a multiple of 64
"""

from __future__ import annotations

import importlib
import io
import pickle
import struct
import sys
from typing import Any

import numpy as np

_ALIGNMENT = 64
_MARK = 0xFFFFFFFF
_IN_BAND = 1024
"""Smaller buffers are pickled like anything else: an own row costs more than copying them."""


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, buffers: list[memoryview]) -> None:
        super().__init__(file, 5, buffer_callback=self._set_apart)
        self._buffers = buffers

    def _set_apart(self, buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _IN_BAND:
            return True
        self._buffers.append(raw)
        return False

    def reducer_override(self, thing: Any) -> Any:
        kind = type(thing)
        if kind is np.ndarray:
            if not (thing.flags.c_contiguous or thing.flags.f_contiguous or thing.dtype.hasobject):
                return np.ascontiguousarray(thing).__reduce_ex__(5)  # as it is, it would be copied four times
        elif kind.__module__ == "torch":
            return _reduce_tensor(thing)
        return NotImplemented


def _reduce_tensor(thing: Any) -> Any:
    """torch pickles a tensor's bytes in line; those of a plain one can be set apart as an array's."""
    torch: Any = sys.modules.get("torch")
    if torch is None or type(thing) is not torch.Tensor or thing.requires_grad or thing.device.type != "cpu":
        return NotImplemented
    try:
        return _tensor, (np.ascontiguousarray(thing.numpy()), tuple(thing.shape))
    except (RuntimeError, TypeError):  # sparse, conjugated, quantized, or of a type that NumPy has not
        return NotImplemented


def _tensor(array: Any, shape: tuple[int, ...]) -> Any:
    torch: Any = importlib.import_module("torch")  # only where the other side has it, too
    return torch.from_numpy(array).reshape(shape)


def pack(thing: Any) -> tuple[bytes, list[memoryview]]:
    """The pickle of an object, and the buffers that are set apart: they are the object's own, which may change."""
    buffers: list[memoryview] = []
    file = io.BytesIO()
    _Pickler(file, buffers).dump(thing)
    return file.getvalue(), buffers


class Parcel:
    """A packed object: it refers to the arrays of the object, so write it before they change."""

    __slots__ = ("_buffers", "_head", "_rows", "nbytes")

    def __init__(self, thing: Any) -> None:
        data, self._buffers = pack(thing)
        end = 16 + 16 * len(self._buffers) + len(data)
        rows = []
        for buffer in self._buffers:
            start = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = start + buffer.nbytes
            rows += [start, buffer.nbytes]
        self._rows = rows
        self._head = struct.pack(f"=2I{1 + len(rows)}Q", len(self._buffers), _MARK, len(data), *rows) + data
        self.nbytes = end

    def write_into(self, target: memoryview) -> None:
        """Write it to the first `nbytes` of a writable `target` of bytes."""
        head = self._head
        target[: len(head)] = head
        for start, buffer in zip(self._rows[::2], self._buffers, strict=True):
            target[start : start + buffer.nbytes] = buffer


def is_parcel(root: np.ndarray[Any, Any]) -> bool:
    """Whether the bytes of a batch are a parcel, and not an encoded batch."""
    return bool(root[7] == 0xFF)


def unpack(root: Any) -> Any:
    """The object in `root`, a bytes-like object of a parcel's bytes or more; its arrays keep `root` alive."""
    view = memoryview(root)
    count, _, size = struct.unpack_from("=2IQ", view)
    rows = struct.unpack_from(f"={2 * count}Q", view, 16)
    begin = 16 + 16 * count
    buffers = [view[start : start + length] for start, length in zip(rows[::2], rows[1::2], strict=True)]
    return pickle.loads(view[begin : begin + size], buffers=buffers)
