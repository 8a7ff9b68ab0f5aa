"""The pools of one stream: a source that is loaded again gets a pool beside the one that serves, and takes over."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable, Iterator

from enqueued.arena.segment import Slot
from enqueued.errors import EnqueuedError
from enqueued.pool.handle import WorkerHandle
from enqueued.pool.memory import Memory
from enqueued.pool.options import Means, PoolEvents, PoolOptions
from enqueued.pool.pool import Pool
from enqueued.pool.reactor import Reactor
from enqueued.pool.shares import Shares
from enqueued.pool.tenure import Tenure
from enqueued.source.spec import SourceSpec
from enqueued.stream.core import Stream
from enqueued.stream.plan import Stretch

log = logging.getLogger("enqueued.pool")

_NO_END = 1 << 64
_LEAVE_S = 10.0
"""How long the workers of a pool that was replaced may take to finish what they make; nobody waits for it."""


class Succession:
    """The pool that serves, older ones that finish the epochs that were begun, and one that is being loaded.

    `step` has to be called in every turn of the loop, `kill` in the end. All of what pools tell goes to `events`, the
    failure of one that is being loaded apart: then the one before it goes on.
    """

    def __init__(
        self,
        spec: SourceSpec,
        options: PoolOptions,
        reactor: Reactor,
        memory: Memory,
        shares: Shares,
        events: PoolEvents,
    ) -> None:
        self.last_reload = ""
        """How the last reload went, in words; empty before the first."""
        self.options = options
        self._memory = memory
        self.claim = memory.join()
        """What the stream has of the memory."""
        self._means = Means(spec, options, reactor, self.claim, shares)
        self._events = events
        self._next: Tenure | None = None
        self._at_once = self._closing = False
        self._leaving: list[tuple[Tenure, float]] = []
        """Pools that were replaced, and until when they may take to end."""
        self._restarts = 0
        """Those of pools that have ended."""
        first = self._make()
        first.epochs = range(_NO_END)
        self._tenures = [first]
        """Those whose epochs somebody may need, by epoch; the last one's have no end."""

    def _make(self) -> Tenure:
        return Tenure(self._means, self._events)

    # -- life ---------------------------------------------------------------------------------------------------

    @property
    def pool(self) -> Pool:
        """The newest pool that serves."""
        return self._tenures[-1].pool

    def newest_makes(self, epoch: int) -> bool:
        """Whether an epoch is made from the source as it was loaded last."""
        return epoch in self._tenures[-1].epochs

    def start(self) -> None:
        """Begin to load the source."""
        self.pool.start()

    def close(self) -> None:
        """Have every process end, workers after the batch that they are making."""
        self._closing = True
        for pool in self._pools():
            pool.close()

    @property
    def closed(self) -> bool:
        """Whether every worker has ended."""
        return all(pool.closed for pool in self._pools())

    def kill(self) -> None:
        """End what is left, now."""
        for pool in self._pools():
            pool.kill()

    def _pools(self) -> list[Pool]:
        found = list(self._tenures)
        if self._leaving:
            found += [tenure for tenure, _ in self._leaving]
        if self._next is not None:
            found.append(self._next)
        return [tenure.pool for tenure in found]

    def step(self, stream: Stream | None, now: float) -> None:
        """Give out what waits, and go on with what was begun."""
        for pool in self._pools():
            pool.step(now)
        for tenure in self._tenures:
            if tenure.failure is not None:
                self._fail(tenure, tenure.failure, stream)
                break
        if self._leaving:
            self._bury(now)
        if self._next is not None and stream is not None and not self._closing:
            self._proceed(self._next, stream)

    def _fail(self, tenure: Tenure, failure: EnqueuedError, stream: Stream | None) -> None:
        """A pool cannot go on."""
        tenure.failure = None
        if tenure.pool is self.pool:
            self._events.broken(failure)
        elif stream is not None:
            log.error("%s; as it was loaded again, the source makes the epochs that were begun, too", failure)
            self._hand_on(tenure, stream)
            stream.refresh(None)

    # -- reload -------------------------------------------------------------------------------------------------

    @property
    def reloading(self) -> bool:
        """Whether the source is being loaded again."""
        return self._next is not None

    def reload(self, *, at_once: bool) -> None:
        """Load the source again from its files, to take over at once or in epochs that nobody has begun."""
        self._at_once = at_once
        self._next = self._make()
        self._next.pool.start()

    def _proceed(self, successor: Tenure, stream: Stream) -> None:
        if successor.failure is not None:
            self._next = None
            self._dismiss(successor, patience_s=0.0)
            trace = getattr(successor.failure, "traceback", "")
            self.last_reload = f"failed: {successor.failure}"
            log.error("%s; the source goes on as it was loaded before%s", successor.failure, trace and f"\n{trace}")
        elif successor.listens:
            self._next = None
            self._succeed(successor, stream)

    def _succeed(self, successor: Tenure, stream: Stream) -> None:
        """Let a pool take over what belongs to it."""
        first = 0 if self._at_once or not stream.groups else max(stream.epochs_in_use()) + 1
        successor.epochs = range(first, _NO_END)
        for tenure in list(self._tenures):
            tenure.epochs = range(tenure.epochs.start, min(tenure.epochs.stop, first))
            if not tenure.epochs:
                self._tenures.remove(tenure)
                self._dismiss(tenure, patience_s=_LEAVE_S)
        self._tenures.append(successor)
        stream.refresh(first - 1 if first else None)
        self.last_reload = f"loaded again, used from epoch {first} on" if first else "loaded again, used at once"
        log.info("%s: %s", self._means.spec.target, self.last_reload)
        self._events.loaded(successor.pool.facts)

    def retire(self, stream: Stream) -> None:
        """Let go of what makes epochs that no group needs."""
        in_use = stream.epochs_in_use()
        while len(self._tenures) > 1 and not any(epoch in self._tenures[0].epochs for epoch in in_use if stream.groups):
            self._hand_on(self._tenures[0], stream)
        for tenure in self._tenures:
            tenure.pool.retire({epoch for epoch in in_use if epoch in tenure.epochs})
            tenure.pool.share.awaited = stream.starving

    def _hand_on(self, tenure: Tenure, stream: Stream) -> None:
        """The epochs of a pool that nobody needs are the next one's from now on, and may have other lengths there."""
        follower = self._tenures[self._tenures.index(tenure) + 1]
        follower.epochs = range(tenure.epochs.start, follower.epochs.stop)
        if not stream.groups:  # what was made ahead for whoever comes first
            stream.refresh(None)
        for epoch in [epoch for epoch in stream.lengths if epoch in tenure.epochs]:
            del stream.lengths[epoch]
        self._tenures.remove(tenure)
        tenure.epochs = range(0)
        self._dismiss(tenure, patience_s=_LEAVE_S)

    def _dismiss(self, tenure: Tenure, *, patience_s: float) -> None:
        tenure.pool.close()
        self._leaving.append((tenure, time.monotonic() + patience_s))

    def _bury(self, now: float) -> None:
        for one in list(self._leaving):
            tenure, until = one
            if tenure.pool.closed or now >= until:
                tenure.pool.kill()
                self._restarts += tenure.pool.restarts
                self._leaving.remove(one)

    # -- what pools make ----------------------------------------------------------------------------------------

    def _owner(self, epoch: int) -> Pool:
        return next(tenure.pool for tenure in self._tenures if epoch in tenure.epochs)

    def capacity(self) -> int:
        """How many more positions it makes sense to order now."""
        if len(self._tenures) == 1:
            return self.pool.capacity()
        return sum(tenure.pool.capacity() for tenure in self._tenures)

    def order(self, stretches: Iterable[Stretch]) -> None:
        """Have positions of an indexed source made."""
        if len(self._tenures) == 1:
            self.pool.order(stretches)
        else:
            for epoch, ordered in itertools.groupby(stretches, lambda stretch: stretch[0]):
                self._owner(epoch).order(ordered)

    def open(self, epoch: int) -> None:
        """Find out how long an epoch is."""
        self._owner(epoch).open(epoch)

    def canary(self, epoch: int) -> str | None:
        """As `Pool.canary`."""
        return self._owner(epoch).canary(epoch)

    def free(self, slots: Iterable[Slot]) -> None:
        """Slots may be written again."""
        pools = self._pools()
        for slot in slots:
            owners = pools
            if len(pools) > 1:
                number = self._memory.table.worker(slot.segment)
                owners = [pool for pool in pools if any(worker.number == number for worker in pool.workers())] or pools
            owners[0].free(slot)

    def workers(self) -> Iterator[WorkerHandle]:
        """Every worker there is."""
        return itertools.chain.from_iterable(pool.workers() for pool in self._pools())

    @property
    def making(self) -> int:
        """How many positions are ordered and not made."""
        return sum(pool.making for pool in self._pools())

    def note(self, worker: WorkerHandle) -> None:
        """See how many lanes of a worker are busy now."""
        for pool in self._pools():
            if any(one is worker for one in pool.workers()):
                pool.note(worker)

    @property
    def restarts(self) -> int:
        """How many workers were replaced because they had died."""
        return self._restarts + sum(pool.restarts for pool in self._pools())
