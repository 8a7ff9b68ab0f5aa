"""The memory of one stream: who gets some, who gives some back, and how far ahead the stream may look for it."""

from __future__ import annotations

from enqueued.batch import Position
from enqueued.pool.handle import WorkerHandle
from enqueued.pool.memory import Memory
from enqueued.pool.replicas import Replicas
from enqueued.pool.succession import Succession
from enqueued.stream.core import Stream
from enqueued.stream.window import Entry

_CLOSE_S = 0.5
"""How long a worker may take to close an idle segment before a batch that is waited for exceeds the budget."""


class Supply:
    """Finds memory for the workers of a stream that wait for it, and gives back what is due to other streams."""

    def __init__(self, memory: Memory, pools: Succession, replicas: Replicas) -> None:
        self.batch_bytes = 0
        """The size of the largest batch so far."""
        self._memory = memory
        self._claim = pools.claim
        self._pools = pools
        self._replicas = replicas
        self._closing: dict[int, float] = {}
        """Idle segments that a worker was asked to close, and when."""

    def serve(self, stream: Stream, now: float) -> None:
        """Find memory for workers that wait for it: free budget, else idle segments, else the batch needed last."""
        claim = self._claim
        claim.pressed = False
        claim.has_clients = bool(stream.groups)
        requests = [(at, nbytes, worker) for worker in self._pools.workers() for at, nbytes in worker.needs.items()]
        claim.lack(nbytes for _, nbytes, _ in requests)
        if len(self._memory.claims) > 1:
            if self.batch_bytes:
                self.fit(stream, self.batch_bytes)
            claim.giving = claim.owes > 0 and self._give_back(stream, now)
        if not requests:
            return
        # where all wait for memory, and none has the batch that a client waits for, the first of them must go on
        stuck = stream.indexed and stream.starving
        stuck = stuck and all(worker.needs or not worker.owing for worker in self._pools.workers())
        for at, nbytes, worker in sorted(requests, key=lambda request: request[0]):
            urgent = stuck or self._awaited(stream, worker)
            if self._find(stream, at, nbytes, worker, now, urgent=urgent):
                worker.grant(at, nbytes)
                stuck = False
            self._pools.note(worker)

    def _find(
        self, stream: Stream, at: Position, nbytes: int, worker: WorkerHandle, now: float, *, urgent: bool
    ) -> bool:
        """Set memory aside for a worker; whether there is some, for else it may come."""
        if not self._memory.fits(nbytes) and (
            self._claim.owed or self._reclaim(now) or (urgent and self._evict(stream, at, worker))
        ):
            return False
        return self._claim.grant(nbytes, urgent=urgent)

    def _awaited(self, stream: Stream, worker: WorkerHandle) -> bool:
        """Whether a worker holds up a group: what it is ordered it makes in turn, each when the one before is done."""
        awaited = stream.awaited()
        if stream.indexed:
            return not awaited.isdisjoint(worker.outstanding)
        return self._replicas.awaited(worker.seat, awaited)

    def _reclaim(self, now: float, nbytes: int = 1) -> bool:
        """Ask for idle segments of so many bytes back; whether one may come."""
        idle = {segment: worker for worker, segment in self._memory.table.idle()}
        self._closing = {segment: asked for segment, asked in self._closing.items() if segment in idle}
        crew = {worker.number: worker for worker in self._pools.workers()}
        found = 0
        for segment, number in idle.items():
            worker = crew.get(number)
            if worker is not None and not worker.needs:  # one that needs memory has closed what it could
                asked = self._closing.setdefault(segment, now)
                if asked == now:
                    worker.close_segments([segment])
                if now - asked < _CLOSE_S:  # a busy one closes it between two batches
                    found += (self._memory.table.descriptor(segment) or (0, 0))[1]
                    if found >= nbytes:
                        break
        return found > 0

    def _give_back(self, stream: Stream, now: float) -> bool:
        """Give back what another stream waits for; whether something may come."""
        return self._reclaim(now, self._claim.owes) or self._evict(stream, (0, -1), None)

    def _evict(self, stream: Stream, at: Position, needy: WorkerHandle | None) -> bool:
        """Make a segment idle whose batches are needed last, and later than position `at`; whether there is one.

        A slot alone would be filled again by the worker whose segment it lies in, and help nobody else.
        """
        crew = {worker.number for worker in self._pools.workers() if worker is needy or not worker.needs}
        found: dict[int, list[Entry]] = {}
        for entry in stream.spare():
            if entry.position > at:
                found.setdefault(entry.slot.segment, []).append(entry)
        for segment, entries in found.items():
            held = sum(entry.slot.cells for entry in entries)
            if self._memory.table.worker(segment) in crew and self._memory.table.used(segment) == held:
                stream.evict(entries)
                self._claim.pressed = True  # to have it closed before it is written again
                return True
        return False

    def fit(self, stream: Stream, nbytes: int) -> None:
        """Look ahead no further than the memory goes for batches of this size."""
        self.batch_bytes = nbytes
        stream.resize(self._claim.room(nbytes) - self._pools.options.workers)
