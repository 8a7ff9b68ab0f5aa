"""What the daemon tells about itself: frozen snapshots, the same for the table, JSON and every later exporter.

Times are seconds, sizes bytes, counters totals since the daemon started.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

LOADING = "loading"
"""The verdict on a stream whose source is not loaded yet."""


@dataclass(frozen=True)
class WorkerStats:
    """One worker process: `state` is ``starting``, ``busy``, ``idle`` or ``waiting for memory``."""

    name: str
    pid: int
    state: str
    made: int
    busy_s: float


@dataclass(frozen=True)
class MemberStats:
    """One client of a group; `transport` is ``slots`` (shared memory) or ``frames`` (sockets).

    `compression` is how many times smaller its frames were of late than the batches in them; 1 where they go as they
    are.
    """

    name: str
    pid: int
    host: str
    transport: str
    credit: int
    leases: int
    delivered: int
    waiting_s: float
    compression: float = 1.0


@dataclass(frozen=True)
class GroupStats:
    """One group and where it stands: `epoch` and `index` are the next position that it will be given.

    `kind` is ``private``, ``split`` or ``ranks``; of ranks each is a group of its own, `rank` of `world_size`, under
    one name. `leases` counts the batches that its members have not acknowledged, `lag` those that it is behind the
    foremost group of the stream (-1: unknown). `waits_for` says who holds it up, and is empty when nobody does.
    """

    name: str
    private: bool
    epoch: int
    index: int
    delivered: int
    redelivered: int
    members: tuple[MemberStats, ...]
    kind: str = "split"
    rank: int = -1
    world_size: int = 1
    leases: int = 0
    lag: int = -1
    waits_for: str = ""


@dataclass(frozen=True)
class StreamStats:
    """One stream: its source, its window and its workers.

    `ready` batches are made and wanted, `making` are in a worker's hands. `make_s` is the mean time of one make.
    `starved_s` is the time in which a client with credit waited and nothing was ready, `full_s` the time in which the
    queue was full, but for less than is ordered together, and workers waited; `verdict` says in words which of the two
    limits the stream. `failed` counts tries, `skipped` the batches that were left out because of them.
    """

    name: str
    source: str
    kind: str
    length: int | None
    batch_bytes: int
    ready: int
    making: int
    max_queue_size: int
    made: int
    delivered: int
    failed: int
    worker_restarts: int
    make_s: float
    starved_s: float
    full_s: float
    slot_bytes: int
    verdict: str
    workers: tuple[WorkerStats, ...]
    groups: tuple[GroupStats, ...]
    skipped: int = 0


@dataclass(frozen=True)
class DaemonStats:
    """One daemon; `ignored` counts messages that did not match a session, generation or lease.

    `messages` counts those from and to clients, on all endpoints. How many there are for a batch says how well batches
    travel together.
    """

    version: str
    name: str
    pid: int
    incarnation: str
    uptime_s: float
    cpu_s: float
    rss_bytes: int
    clients: int
    ignored: int
    endpoints: tuple[str, ...]
    streams: tuple[StreamStats, ...]
    messages: int = 0

    def to_plain(self) -> dict[str, Any]:
        """The snapshot as plain data, for JSON and msgpack."""
        return asdict(self)
