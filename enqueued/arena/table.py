"""The arena as the daemon sees it: which segments there are, whose, and how much of each is in use."""

from __future__ import annotations

import mmap
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from enqueued.arena.segment import Slot, map_readonly


@dataclass
class _Row:
    fd: int
    size: int
    worker: int
    owner: int
    used: int = 0
    withdrawn: bool = False
    """Whether its worker has closed it or died; it goes when its last batch does."""
    memory: mmap.mmap | None = field(default=None, repr=False)


class SegmentTable:
    """Segments by number. `forgotten` collects those that are gone, for the clients to unmap."""

    def __init__(self) -> None:
        self._rows: dict[int, _Row] = {}
        self.total_bytes = 0
        self.used_bytes = 0
        self.forgotten: list[int] = []
        self.owned_bytes: Counter[int] = Counter()
        """How much each owner's segments take."""
        self.owned: Counter[int] = Counter()
        """How many segments each owner has."""

    def __contains__(self, number: int) -> bool:
        return number in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, number: int, fd: int, size: int, worker: int, owner: int = 0) -> None:
        """A worker has created a segment; it counts as its owner's also after the worker has died."""
        self._rows[number] = _Row(fd, size, worker, owner)
        self.total_bytes += size
        self.owned_bytes[owner] += size
        self.owned[owner] += 1

    def descriptor(self, number: int) -> tuple[int, int] | None:
        """A segment's descriptor and size, for a client that wants to map it."""
        row = self._rows.get(number)
        return None if row is None else (row.fd, row.size)

    def worker(self, number: int) -> int | None:
        """Whose segment it is; None when it is gone or closing."""
        row = self._rows.get(number)
        return None if row is None or row.withdrawn else row.worker

    def used(self, number: int) -> int:
        """How many batches lie in a segment."""
        return self._rows[number].used

    def use(self, slot: Slot) -> None:
        """What lies in this slot counts."""
        self._rows[slot.segment].used += slot.cells
        self.used_bytes += slot.nbytes * slot.cells

    def free(self, slot: Slot) -> None:
        """What lies in this slot is not needed any more."""
        row = self._rows[slot.segment]
        row.used -= slot.cells
        self.used_bytes -= slot.nbytes * slot.cells
        if row.withdrawn and not row.used:
            self._drop(slot.segment)

    def withdraw(self, number: int) -> None:
        """A segment's worker has closed it: it goes as soon as no batch is left in it."""
        row = self._rows.get(number)
        if row is not None and not row.withdrawn:
            row.withdrawn = True
            if not row.used:
                self._drop(number)

    def withdraw_all(self, worker: int) -> None:
        """A worker is gone, and its segments with it."""
        for number in [n for n, row in self._rows.items() if row.worker == worker]:
            self.withdraw(number)

    def idle(self) -> Iterator[tuple[int, int]]:
        """`(worker, segment)` of each segment that holds no batch and could be closed."""
        for number, row in self._rows.items():
            if not row.used and not row.withdrawn:
                yield row.worker, number

    def view(self, slot: Slot) -> memoryview:
        """What lies in a slot, to send it by socket; no copy is made."""
        row = self._rows[slot.segment]
        if row.memory is None:
            row.memory = map_readonly(row.fd, row.size)
        return memoryview(row.memory)[slot.offset : slot.stop]

    def _drop(self, number: int) -> None:
        row = self._rows.pop(number)
        self.total_bytes -= row.size
        self.owned_bytes[row.owner] -= row.size
        self.owned[row.owner] -= 1
        self.forgotten.append(number)
        os.close(row.fd)  # a mapping that a socket still reads goes when its last view does

    def close(self) -> None:
        """Give every segment back."""
        for number in list(self._rows):
            self._drop(number)
