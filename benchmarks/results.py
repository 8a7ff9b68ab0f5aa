"""From rounds to figures: medians, ratios within a round, and the targets that they are held against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.rounds import Measured

RATE = "batches_per_s"


@dataclass(frozen=True)
class Target:
    """What has to be reached; `value` is None when it was not measured."""

    what: str
    least: float | None
    most: float | None
    unit: str
    value: float | None

    @property
    def verdict(self) -> str:
        """Whether it is reached."""
        if self.value is None:
            return "not measured"
        reached = (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)
        return "reached" if reached else "NOT reached"


def middle(measured: Measured, key: str) -> float | None:
    """The median of a figure over the rounds that gave one."""
    values = [result[key] for result in measured.rounds if result is not None and result.get(key) is not None]
    return median(values) if values else None


def ratio(one: Measured, other: Measured, key: str = RATE) -> float | None:
    """How many times faster `one` is: the median of the ratios within each round, where both gave a figure."""
    pairs = zip(one.rounds, other.rounds, strict=False)
    values = [a[key] / b[key] for a, b in pairs if a is not None and b is not None and b[key]]
    return median(values) if values else None


def find(all_measured: Iterable[Measured], system: str, size: str) -> Measured | None:
    """The entry of a system at a size."""
    for entry in all_measured:
        if (entry.system.name, entry.size.name) == (system, size):
            return entry
    return None


def ratios(
    against: Iterable[tuple[str, str, str, float]], measured: Sequence[Measured], sizes: Sequence[str]
) -> list[Target]:
    """How many times faster than their peers ours must be: by size, our system, the other one, and the least ratio."""
    found = []
    for size, ours, theirs, least in against:
        if size in sizes:
            one, other = find(measured, ours, size), find(measured, theirs, size)
            value = ratio(one, other) if one and other else None
            found.append(Target(f"{size}: {ours} / {theirs}", least, None, "x", value))
    return found


AGAINST = (
    ("big", "enqueued", "torch", 8.0),
    ("mid", "enqueued", "torch", 10.0),
    ("small", "enqueued", "torch", 50.0),
    ("small", "enqueued", "pyzmq-ipc-1000", 0.6),
    ("small", "enqueued", "pyzmq-tcp-1000", 0.6),
    ("small", "enqueued", "tensorpack", 2.0),
    ("big", "enqueued", "memory-slot", 0.6),
    ("big", "enqueued-tcp", "pyzmq-tcp", 0.9),
    ("mid", "enqueued-tcp", "pyzmq-tcp", 0.9),
)
DAEMON_CPU_US = {"big": 50.0, "mid": 50.0, "small": 8.0}
"""Lone tickets for large batches, shared messages for small ones."""
DAEMON_BYTES = 60e6


def targets(measured: Sequence[Measured], sizes: Sequence[str]) -> list[Target]:
    """All targets that these sizes have, reached or not."""
    found = ratios(AGAINST, measured, sizes)
    for size, most in DAEMON_CPU_US.items():
        if size in sizes:
            one = find(measured, "enqueued", size)
            value = middle(one, "daemon_cpu_us") if one else None
            found.append(Target(f"{size}: daemon's CPU per batch", None, most, "us", value))
    held = [middle(entry, "daemon_rss_bytes") for entry in measured]
    largest = max((value for value in held if value is not None), default=None)
    millions = None if largest is None else largest / 1e6
    return [*found, Target("daemon's memory besides slots, the largest", None, DAEMON_BYTES / 1e6, "MB", millions)]
