"""How much shared memory the batches may take."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from enqueued.arena.segment import cell_size, cells_per_segment, segment_size
from enqueued.arena.table import SegmentTable

_SHARE = 4
"""Without a setting the queue may take this fraction of what is available."""


def available_bytes() -> int:
    """Memory that can be had now: what the machine has left, or what this process's memory cgroups leave, if less."""
    left = _field(Path("/proc/meminfo"), "MemAvailable:") * 1024
    for folder in _cgroups():
        limit, current = _number(folder / "memory.max"), _number(folder / "memory.current")
        if limit is not None and current is not None:
            left = min(left, limit - current + _field(folder / "memory.stat", "inactive_file"))
    return max(0, left)


def _cgroups() -> list[Path]:
    """The cgroup of this process and those above it."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    path = next((line.split(":", 2)[2] for line in lines if line.startswith("0::")), "/")
    folder = Path("/sys/fs/cgroup") / path.lstrip("/")
    return [folder, *folder.parents[: max(0, len(folder.parts) - 4)]]


def _field(file: Path, name: str) -> int:
    try:
        for line in file.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def _number(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


class Memory:
    """The budget of all streams of a daemon, and the segments that were made within it.

    `limit` bounds the queues. When it is used up the batch that a client waits for still gets its memory, out of what
    is available: so the bound is exceeded by one batch for each worker and by what clients hold, and no more.

    Each of k streams that have clients, hold memory or want some may count on a k-th of it. What others leave it may
    use as well, and gives back when one that has less than its part needs memory.
    """

    def __init__(self, limit: int | None) -> None:
        self.table = SegmentTable()
        self.limit = limit if limit is not None else max(1 << 20, available_bytes() // _SHARE)
        self.most_segments = 1 << 20
        """How many segments the queues may take, for each of them is an open file of the daemon's."""
        self.claims: list[Claim] = []

    def join(self) -> Claim:
        """The part of one more stream."""
        claim = Claim(self, len(self.claims) + 1)
        self.claims.append(claim)
        return claim

    def fits(self, nbytes: int) -> bool:
        """Whether the budget has room for a segment of this size."""
        room = self.table.total_bytes + sum(claim.granted for claim in self.claims) + nbytes <= self.limit
        return room and len(self.table) < self.most_segments


class Claim:
    """What one stream has of the memory, and what it lacks."""

    def __init__(self, memory: Memory, number: int) -> None:
        self.number = number
        self.granted = 0
        """Bytes that its workers may allocate and have not."""
        self.lacking = 0
        """Bytes for which its workers wait, as far as they are within its part."""
        self.has_clients = False
        self.pressed = False
        """Whether something has changed, so that it should see at once what it lacks and what it owes."""
        self.giving = False
        """Whether it is giving something back."""
        self._memory = memory

    @property
    def table(self) -> SegmentTable:
        """The segments of all streams."""
        return self._memory.table

    @property
    def held(self) -> int:
        """Bytes that it has; a segment counts at least as its part of the files that may be open."""
        table, memory = self._memory.table, self._memory
        files = table.owned[self.number] * memory.limit // memory.most_segments
        return max(table.owned_bytes[self.number], files) + self.granted

    @property
    def counts(self) -> bool:
        """Whether it is one of those among whom the memory is divided."""
        return self.has_clients or self.lacking > 0 or self.held > 0

    @property
    def part(self) -> int:
        """How many bytes it may count on."""
        return self._memory.limit // (1 + sum(one.counts for one in self._memory.claims if one is not self))

    @property
    def bound(self) -> int:
        """How many bytes it may hold now: its part, and what the others neither hold nor lack within theirs."""
        others = sum(one.held + one.lacking for one in self._memory.claims if one is not self)
        return max(self.part, self._memory.limit - others)

    @property
    def owes(self) -> int:
        """How many bytes it has to give back."""
        return max(0, self.held - self.bound) if len(self._memory.claims) > 1 else 0

    @property
    def owed(self) -> bool:
        """Whether another stream is about to give something back."""
        others = (one for one in self._memory.claims if one is not self)
        return any(one.owes and (one.pressed or one.giving) for one in others)

    def lack(self, needs: Iterable[int]) -> None:
        """Say for how many bytes each of its workers waits; others who have more than their part are told."""
        before, self.lacking = self.lacking, 0
        free = self.part - self.held
        for nbytes in sorted(needs):
            if self.lacking + nbytes <= free:
                self.lacking += nbytes
        if self.lacking > before:
            self.press()

    def room(self, nbytes: int) -> int:
        """How many batches of this size it may hold."""
        cell, memory = cell_size(nbytes), self._memory
        bound = self.bound
        segments = memory.most_segments * bound // memory.limit
        return min(bound // segment_size(cell), segments) * cells_per_segment(cell)

    def grant(self, nbytes: int, *, urgent: bool) -> bool:
        """Set memory aside for a worker, if there is any; `urgent` when a client waits for just this batch."""
        fits = self._memory.fits(nbytes) and (
            urgent or len(self._memory.claims) < 2 or self.held + nbytes <= self.bound
        )
        if not fits and not (urgent and nbytes * 2 < available_bytes()):
            return False
        self.granted += nbytes
        return True

    def arrived(self, nbytes: int) -> None:
        """A worker has made a segment out of what it was granted, or will not."""
        self.granted = max(0, self.granted - nbytes)

    def press(self) -> None:
        """Have those see to their memory who lack some, or owe some."""
        for claim in self._memory.claims:
            claim.pressed = claim.pressed or claim.lacking > 0 or claim.owes > 0
