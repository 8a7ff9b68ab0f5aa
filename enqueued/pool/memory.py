"""How much shared memory the batches may take."""

from __future__ import annotations

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
    """The budget of all pools of a daemon, and the segments that were made within it.

    `limit` bounds the queue. When it is used up the batch that a client waits for still gets its memory, out of what is
    available: so the bound is exceeded by one batch for each worker and by what clients hold, and no more.
    """

    def __init__(self, limit: int | None) -> None:
        self.table = SegmentTable()
        self.limit = limit if limit is not None else max(1 << 20, available_bytes() // _SHARE)
        self.most_segments = 1 << 20
        """How many segments the queue may take, for each of them is an open file of the daemon's."""
        self._granted = 0

    def fits(self, nbytes: int) -> bool:
        """Whether the budget has room for a segment of this size."""
        room = self.table.total_bytes + self._granted + nbytes <= self.limit
        return room and len(self.table) < self.most_segments

    def room(self, nbytes: int) -> int:
        """How many batches of this size fit the budget."""
        cell = cell_size(nbytes)
        return min(self.limit // segment_size(cell), self.most_segments) * cells_per_segment(cell)

    def grant(self, nbytes: int, *, urgent: bool) -> bool:
        """Set memory aside for a worker, if there is any; `urgent` when a client waits for just this batch."""
        if not self.fits(nbytes) and not (urgent and nbytes * 2 < available_bytes()):
            return False
        self._granted += nbytes
        return True

    def arrived(self, nbytes: int) -> None:
        """A worker has made a segment out of what it was granted."""
        self._granted = max(0, self._granted - nbytes)
