"""An object of the calling program in memory files, anew each time that it has changed.

Processes that read one file share its pages until they write to them. A buffer that is the same as in the edition
before is not written again: it is read from that one's file, where it is as it was, whatever a process did to its own
copy.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
from typing import Any

import numpy as np

from enqueued.pool.parcel import pack

_ALIGNMENT = 4096
_WORTH = 64 * 1024
"""Smaller buffers are written anew in each edition: comparing them saves nothing."""
_PIECE = 1 << 20
_MOST_FILES = 6
"""As many descriptors go with one message; an edition that would need more is written as a whole."""
_HEAD = struct.Struct("=2Q")


class _File:
    """A memory file, which is closed with the last edition that needs it."""

    fd = -1

    def __init__(self, nbytes: int) -> None:
        self.fd = os.memfd_create("enqueued-edition", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, nbytes)

    def write(self, data: bytes | memoryview, start: int) -> None:
        view = memoryview(data)
        while view.nbytes:
            written = os.pwrite(self.fd, view, start)  # through a mapping each page would fault
            view, start = view[written:], start + written

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class Edition:
    """One edition; `files` are the descriptors that `read` needs, the first is its own."""

    def __init__(self, thing: Any, before: Edition | None = None) -> None:
        self.pickled, buffers = pack(thing)
        kept = before._find(buffers) if before is not None else {}
        if len({place[0] for place in kept.values()}) >= _MOST_FILES:
            kept = {}
        files = list({id(file): file for file, _ in kept.values()}.values())
        numbers = {id(file): number for number, file in enumerate(files, 1)}
        rows: list[int] = []
        end = _HEAD.size + 24 * len(buffers) + len(self.pickled)
        fresh: list[tuple[int, memoryview]] = []
        self._places: list[tuple[_File | None, int, int]] = []
        for number, buffer in enumerate(buffers):
            if number in kept:
                file, start = kept[number]
                rows += [numbers[id(file)], start, buffer.nbytes]
                self._places.append((file, start, buffer.nbytes))
                continue
            start = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = start + buffer.nbytes
            rows += [0, start, buffer.nbytes]
            fresh.append((start, buffer))
            self._places.append((None, start, buffer.nbytes))
        self._own = _File(end)
        self._files = [self._own, *files]
        head = _HEAD.pack(len(buffers), len(self.pickled)) + struct.pack(f"={len(rows)}Q", *rows)
        self._own.write(head + self.pickled, 0)
        for start, buffer in fresh:
            self._own.write(buffer, start)

    @property
    def files(self) -> tuple[int, ...]:
        """Descriptors, which are closed with the last edition that needs them."""
        return tuple(file.fd for file in self._files)

    def _find(self, buffers: list[memoryview]) -> dict[int, tuple[_File, int]]:
        """Where this edition has the same bytes, by the buffers' numbers."""
        maps: dict[int, mmap.mmap] = {}
        found = {}
        for number, (buffer, (file, start, nbytes)) in enumerate(zip(buffers, self._places, strict=False)):
            if buffer.nbytes == nbytes >= _WORTH:
                at = file or self._own
                memory = maps.get(at.fd)
                if memory is None:
                    memory = maps[at.fd] = mmap.mmap(at.fd, 0, mmap.MAP_SHARED, mmap.PROT_READ)
                if _same(np.frombuffer(memory, np.uint8, nbytes, start), np.frombuffer(buffer, np.uint8)):
                    found[number] = at, start
        return found


def _same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Whether two runs of bytes are equal; compared by pieces, so that a difference is found soon."""
    whole = one.nbytes // 8 * 8
    if not np.array_equal(one[whole:], other[whole:]):
        return False
    ones, others = one[:whole].view(np.uint64), other[:whole].view(np.uint64)
    return all(np.array_equal(ones[at : at + _PIECE], others[at : at + _PIECE]) for at in range(0, len(ones), _PIECE))


def read(files: list[int]) -> Any:
    """The object of an edition; what is written to its arrays stays private to this process."""
    memories = [mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) for fd in files]
    views = [memoryview(memory) for memory in memories]
    count, size = _HEAD.unpack_from(views[0])
    rows = struct.unpack_from(f"={3 * count}Q", views[0], _HEAD.size)
    begin = _HEAD.size + 24 * count
    buffers = [
        views[file][start : start + nbytes]
        for file, start, nbytes in zip(rows[::3], rows[1::3], rows[2::3], strict=True)
    ]
    return pickle.loads(views[0][begin : begin + size], buffers=buffers)
