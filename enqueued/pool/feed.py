"""A stream and the pool that makes its batches: the core's decisions are carried out, the pool's news fed to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from enqueued.arena.segment import SMALL, Slot
from enqueued.batch import Position
from enqueued.codec.limits import aligned
from enqueued.errors import EnqueuedError, ProtocolError
from enqueued.pool.canary import UNREPRODUCIBLE
from enqueued.pool.channel import Message
from enqueued.pool.memory import Memory
from enqueued.pool.options import PoolOptions
from enqueued.pool.pace import Pace
from enqueued.pool.reactor import Reactor
from enqueued.pool.replicas import Replicas
from enqueued.pool.shares import Shares
from enqueued.pool.succession import Succession
from enqueued.pool.supply import Supply
from enqueued.pool.watch import Watch
from enqueued.source.spec import SourceSpec
from enqueued.stats import GroupStats, MemberStats, StreamStats
from enqueued.stream.core import Stream
from enqueued.stream.decisions import Decision
from enqueued.stream.group import Group, Member
from enqueued.stream.places import FAR
from enqueued.stream.record import restore
from enqueued.stream.window import READY

log = logging.getLogger("enqueued.pool")

_LOOK_S = 0.02
"""How often it is seen who waits for whom, how the memory is divided, and which epochs nobody needs."""
_WATCH_S = 0.5
SKIPPED = "skipped"
"""The kind of an error that stands for a batch that was left out."""
_FAILURE_S = 10.0
"""How often the log names a position that failed."""


class Feed:
    """One stream with its pool. `step` has to be called in every turn of the loop.

    `on_broken` is told when the pool cannot go on. Until `ready` there is no stream to join. With `reload` the source
    is loaded again as soon as one of its files changes.
    """

    def __init__(
        self,
        name: str,
        spec: SourceSpec,
        options: PoolOptions,
        *,
        reactor: Reactor,
        memory: Memory,
        shares: Shares,
        lag_timeout: float,
        reorder_window: int = 0,
        retries: int = 0,
        skips: bool = False,
        epochs: int | None = None,
        reload: bool = False,
        on_broken: Callable[[EnqueuedError], None],
    ) -> None:
        self.name = name
        self.spec = spec
        self.header = b""
        """The beginning of the first batch that was made: its structure, shapes and dtypes."""
        self.broken = on_broken
        self._options = options
        self._memory = memory
        self._begin = partial(
            Stream,
            name,
            max_queue_size=options.max_queue_size,
            lag_timeout_s=lag_timeout,
            reorder_window=reorder_window,
            retries=retries,
            skip=skips,
            epochs=epochs,
        )
        self._skips = skips
        self._reload = reload
        self._watch: Watch | None = None
        self._watched = 0.0
        self._described = False
        """Whether `header` comes from the source as it was loaded last."""
        self._pools = Succession(spec, options, reactor, memory, shares, self)
        self._stream: Stream | None = None
        self.remembered: dict[str, Any] | None = None
        """What the state file says of its groups; None where there is none."""
        self._replicas = Replicas(spec.replicas, self._pools.pool)
        self._supply = Supply(memory, self._pools, self._replicas)
        self._pace = Pace()
        self._tell_failure_at = 0.0
        self._looked = time.monotonic()

    # -- life ---------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the source is loaded."""
        return self._stream is not None

    @property
    def facts(self) -> Message:
        """What loading the source has shown: `file`, `hash` and `loaded_at` (s) among others; empty until then."""
        return self._pools.pool.facts

    @property
    def stream(self) -> Stream:
        """The core; only once `ready`."""
        assert self._stream is not None
        return self._stream

    def start(self) -> None:
        """Begin to load the source."""
        self._pools.start()

    def close(self) -> None:
        """Make nothing more; workers end after the batch that they are making, and then this is `closed`."""
        self._pools.close()

    @property
    def closed(self) -> bool:
        """Whether every worker has ended."""
        return self._pools.closed

    def kill(self) -> None:
        """End what is left of the pool, now."""
        self._pools.kill()

    def step(self, now: float) -> None:
        """Carry out what the core has decided since the last turn."""
        stream = self._stream
        if stream is not None:
            stream.tick(now)
            freed = stream.window.freed
            if freed:
                stream.window.freed = []
                self._pools.free(freed)
            if stream.indexed:
                self._order(stream)
            else:
                self._replicas.pull(stream)
            if self._pools.claim.pressed:
                self._supply.serve(stream, now)
            if now - self._looked >= _LOOK_S:
                self._looked = now
                self._pace.sample(stream, now)
                self._supply.serve(stream, now)
                self._pools.retire(stream)
        self._pools.step(stream, now)
        if self._watch is not None and now - self._watched >= _WATCH_S:
            self._watched = now
            self._look_at_files(self._watch)

    @property
    def hooked(self) -> bool:
        """Whether the source does something between epochs; only once `ready`."""
        return bool(self.facts["hook"])

    # -- reload -------------------------------------------------------------------------------------------------

    @property
    def reloading(self) -> bool:
        """Whether the source is being loaded again."""
        return self._pools.reloading

    @property
    def last_reload(self) -> str:
        """How the last reload went, in words; empty before the first."""
        return self._pools.last_reload

    def reload(self, *, at_once: bool) -> None:
        """Load the source again from its files, beside what serves, which goes on if that fails.

        At once, all that was made and not delivered is made anew. Otherwise epochs that some group has begun, or that
        are being made, stay as they are, until no group needs them.
        """
        if not self.ready or not self.facts["indexed"]:
            why = "it is streamed, and only goes forward: restart the daemon" if self.ready else "it is not loaded yet"
            log.warning("%s is not loaded again: %s", self.spec.target, why)
        elif self.reloading:
            log.warning("%s is being loaded again already", self.spec.target)
        else:
            self._pools.reload(at_once=at_once)

    def _look_at_files(self, watch: Watch) -> None:
        if not self.reloading and (changed := watch.changed()):
            log.info("%s changed; %s is loaded again", ", ".join(changed), self.spec.target)
            self.reload(at_once=True)

    # -- what the server asks -----------------------------------------------------------------------------------

    def canary(self, epoch: int) -> str | None:
        """The checksum of the batch at index 0 of an epoch, by which a source that was built anew proves itself.

        None when it is being made: ask again. A text that begins with ``error: `` when it cannot be made.
        """
        if not self.facts["indexed"]:
            return f"error: {self.spec.target} is streamed, and cannot make a batch again"
        return self._pools.canary(epoch)

    def decisions(self) -> list[Decision]:
        """What has to be told to members now."""
        return self._stream.decisions() if self._stream is not None else []

    def _order(self, stream: Stream) -> None:
        capacity = self._pools.capacity()
        if capacity:
            together = self._pools.pool.together if self._supply.batch_bytes < SMALL else 1
            self._pools.order(stream.orders(capacity, together))
        for epoch in stream.openings():
            self._open(epoch)

    def _open(self, epoch: int) -> None:
        self._pools.open(epoch)

    # -- what the pool says -------------------------------------------------------------------------------------

    def loaded(self, facts: Message) -> None:
        """The source is there, or as it was loaded again it takes over."""
        if self._stream is None:
            self._stream = self._begin(indexed=facts["indexed"], now=time.monotonic())
            try:
                if self.remembered is not None:
                    restore(self._stream, self.remembered)
            except ProtocolError as error:
                log.warning("what the state file says of the groups of %s is ignored: %s", self.name, error)
        self._described = False
        self._watch = Watch(facts["versions"]) if self._reload else None
        if self._options.threads:
            log.warning(
                "%s: threads share the generators of random and numpy.random, so they are not seeded for each batch; "
                "enqueued.rng() is, and gives the same numbers in any pool",
                self.spec.target,
            )
        if facts["spawns"] and facts["hazard"]:
            log.warning("%s: workers are spawned, not forked: %s", self.spec.target, facts["hazard"])
        for file in facts["files"]:
            log.warning(
                "%s left %s open: forked workers share its offset, so they can read each other's data. Open it in "
                "worker_init(self, info), or with --worker-init mod:fn.",
                self.spec.target,
                file,
            )

    def made(self, position: Position, slot: Slot, seat: int) -> None:
        """A batch lies in a slot, or a run of them does."""
        if slot.nbytes > self._supply.batch_bytes:
            self._supply.fit(self.stream, slot.nbytes)
        if not self._described and self._pools.newest_makes(position[0]):
            self._described = True
            view = self._memory.table.view(slot)
            self.header = bytes(view[: aligned(8 + int.from_bytes(view[:4], "little"))])
        if self.facts["indexed"]:
            self.stream.made(position, slot, slot.cells)
        else:
            self._replicas.give(self.stream, seat, slot)

    def failed(self, position: Position, error: Message, seat: int) -> None:
        """The user's code raised at a position: its trainers are told, and now and then the log."""
        error = self._kind(error)
        now = time.monotonic()
        if now >= self._tell_failure_at:
            self._tell_failure_at = now + _FAILURE_S
            left_out = f"; {position[0]}:{position[1]} is left out" if error["kind"] == SKIPPED else ""
            log.warning("%s%s", error["message"], left_out)
        if self.facts["indexed"]:
            self.stream.failed(position, error)
        else:
            self._replicas.give(self.stream, seat, error)

    def _kind(self, error: Message) -> Message:
        """What is told of an error: with ``--on-error skip`` that its batch is left out, unless that would be all."""
        kind = error.get("kind", "")
        return {**error, "kind": SKIPPED if self._skips and kind != UNREPRODUCIBLE else kind}

    def lost(self, position: Position, error: Message, *, killed: bool) -> None:
        """The worker that had a position is gone."""
        self.stream.lost(position, self._kind(error), killed=killed)

    def length(self, epoch: int, length: int, error: Message | None) -> None:
        """An epoch has been opened, or cannot be."""
        known = self.stream.lengths.get(epoch)
        if error is not None:
            self.stream.epoch_failed(epoch, error)
        elif known != length:  # an image that was lost and is made again says what is known, and that ends no order
            self.stream.epoch_length(epoch, length)
            if known is not None:
                log.warning("%s: epoch %d had %d batches and has %d now", self.spec.target, epoch, known, length)
                self.stream.rehold()

    def ended(self, epoch: int, seat: int) -> None:
        """A replica of a streamed source has come to the epoch's end."""
        self._replicas.ended(self.stream, epoch, seat, last=self.facts["one_epoch"])

    def lost_replica(self, seat: int, error: Message) -> None:
        """The worker of a streamed source is gone, and with it where the source stood."""
        self._replicas.lose(error)

    # -- stats --------------------------------------------------------------------------------------------------

    def stats(self, describe: Callable[[Member], MemberStats]) -> StreamStats:
        """A snapshot; `describe` tells of a member what only the server knows."""
        stream = self._stream
        found = [] if stream is None else list(stream.groups.values())
        at = max((group.cursor for group in found), default=(0, 0))
        front = max((group.place(group.cursor) for group in found), default=(0, 0))
        groups = () if stream is None else tuple(_group_stats(stream, group, front, describe) for group in found)
        outstanding = self._pools.making + len(self._replicas.owed)
        return StreamStats(
            name=self.name,
            source=self.spec.target,
            kind=self.spec.kind,
            length=stream.lengths.get(at[0]) if stream is not None else None,
            batch_bytes=self._supply.batch_bytes,
            ready=stream.window.count(READY) if stream is not None else 0,
            making=outstanding,
            max_queue_size=self._options.max_queue_size,
            made=stream.made_count if stream is not None else 0,
            delivered=stream.delivered if stream is not None else 0,
            failed=stream.failed_count if stream is not None else 0,
            skipped=stream.skipped_count if stream is not None else 0,
            worker_restarts=self._pools.restarts,
            make_s=self._pools.pool.make_s,
            starved_s=self._pace.starved_s,
            full_s=self._pace.full_s,
            slot_bytes=self._memory.table.total_bytes,
            verdict=self._pace.verdict(stream),
            workers=tuple(worker.stats() for worker in self._pools.workers()),
            groups=groups,
        )

    @property
    def headline(self) -> str:
        """What is served, in a few words."""
        stream = self._stream
        length = stream.lengths.get(0) if stream is not None and self.facts["indexed"] else None
        workers = f"{self._options.workers} {'thread' if self._options.threads else 'worker'}"
        workers += "s" * (self._options.workers != 1)
        if length is None:
            return f"{self.spec.target} ({_size(self._supply.batch_bytes, 'batches of ')}{workers})"
        batches = f"{length:,} batches".replace(",", " ")
        return f"{self.spec.target} ({batches}{_size(self._supply.batch_bytes, ' x ', '')}, {workers})"

    def waiting_for(self) -> str:
        """What a client that waits is told: how many workers are busy, and since when the slowest."""
        now = time.monotonic()
        doing = [one for worker in self._pools.workers() for one in worker.page.doing(now)]
        if not self.ready:
            return f"{self.spec.target} is being loaded"
        if not doing:
            return "no worker is busy"
        slowest = max(doing, key=lambda one: one.seconds)
        at = f"{slowest.position[0]}:{slowest.position[1]}"
        return f"{len(doing)} workers busy, the slowest for {slowest.seconds:.0f} s at {at}"


def _group_stats(
    stream: Stream, group: Group, front: Position, describe: Callable[[Member], MemberStats]
) -> GroupStats:
    team = group.team
    behind = stream.gap(group.place(group.cursor), front)
    return GroupStats(
        name=group.name if team is None else team.name,
        private=group.private,
        epoch=group.cursor[0],
        index=group.cursor[1],
        delivered=group.delivered,
        redelivered=group.redelivered,
        members=tuple(describe(member) for member in group.members.values()),
        kind="ranks" if team is not None else "private" if group.private else "split",
        rank=-1 if team is None else group.rank,
        world_size=1 if team is None else team.world_size,
        leases=sum(len(member.unacknowledged()) for member in group.members.values()),
        lag=behind if behind < FAR else -1,
        waits_for=stream.waits_for(group),
    )


def _size(nbytes: int, before: str, after: str = ", ") -> str:
    if not nbytes:
        return ""
    exponent = min(3, max(0, (nbytes.bit_length() - 1) // 10))
    return f"{before}{nbytes / 1024**exponent:.{1 if exponent else 0}f} {('B', 'KiB', 'MiB', 'GiB')[exponent]}{after}"
