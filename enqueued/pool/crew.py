"""The workers of one source: who makes what, and what happens when one dies."""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Collection, Iterable

from enqueued.arena.segment import Slot
from enqueued.batch import Position
from enqueued.errors import ConfigError, EnqueuedError, LoadError
from enqueued.pool.backlog import Backlog
from enqueued.pool.canary import Canaries
from enqueued.pool.channel import Message
from enqueued.pool.deaths import Deaths
from enqueued.pool.generation import Generation
from enqueued.pool.generations import Generations
from enqueued.pool.handle import WorkerHandle
from enqueued.pool.options import Means, PoolEvents
from enqueued.pool.shares import Shares, allot
from enqueued.stream.plan import Stretch
from enqueued.wire.messages import MOST_TOGETHER

log = logging.getLogger("enqueued.pool")

_MOST_DEPTH = 1024
_TOGETHER = 8
"""From this depth on orders are given together, a quarter of what a lane may have at a time."""
_BRIEF_S = 300e-6
"""Orders that take no longer together go to one lane, in one message."""
_AHEAD_S = 0.005
"""A lane is given so many orders ahead that it has work for this long while the daemon is busy elsewhere."""

_IDLE_S = 1.0
"""A worker that lived so long, and died while it made nothing, did not die of the user's code."""

_numbers = itertools.count(1)  # of workers, across all pools of a process: segments are named by them


class Crew:
    """The workers of all generations of a source, their orders and their answers."""

    def __init__(self, means: Means, events: PoolEvents) -> None:
        self.spec = means.spec
        self.options = means.options
        self.restarts = 0
        self.canaries = Canaries(self.spec.target)
        self.make_s = 0.0
        """Mean time of a make; recent ones count most."""
        self._reactor = means.reactor
        self.claim = means.claim
        shares = means.shares if self.spec.kind != "generator" else Shares()
        self.share = shares.join(self.options.workers, self._wake)
        self._table = self.claim.table
        self._events = events
        self._loaded = self._stopping = False
        self._indexed = True
        self._generations = Generations(self.options.max_generations, self._watch_zygote)
        self._backlog: dict[int, Backlog] = {}
        """Positions that wait for a worker, by generation."""
        self._unasked: list[int] = []
        self._unsent: dict[WorkerHandle, None] = {}
        """Workers to which something is to be sent."""
        self._most_each = max(1, self.options.max_queue_size // self.options.workers)
        """A lane's part of the queue."""
        self._deaths = Deaths(self.spec.target, self.options.workers)

    def _watch_zygote(self, generation: Generation) -> None:
        raise NotImplementedError

    def _hear_canary(self, generation: Generation, epoch: int, found: str, error: str) -> None:
        raise NotImplementedError

    def _break(self, error: EnqueuedError) -> None:
        self._stopping = True
        self._events.broken(error)

    def workers(self) -> list[WorkerHandle]:
        """Every worker there is."""
        return self._generations.workers()

    @property
    def staffed(self) -> bool:
        """Whether every replica of a streamed source has a worker that listens."""
        return sum(worker.up for worker in self.workers()) == self.options.workers

    def _ask_length(self, epoch: int) -> None:
        worker = next((worker for worker in self.workers() if worker.up and not worker.stopping), None)
        if worker is None:
            self._unasked.append(epoch)
        else:
            worker.ask_length(epoch)

    # -- orders -------------------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """How many orders a lane may have at a time: more than one only where makes are short."""
        ahead = 1 + int(_AHEAD_S / self.make_s) if self.make_s else 1
        return min(_MOST_DEPTH, ahead, self._most_each)

    @property
    def _seats(self) -> int:
        """How many processes make the batches of one generation."""
        return 1 if self.options.threads else self.options.workers

    @property
    def making(self) -> int:
        """How many positions are ordered and not made."""
        return sum(map(len, self._backlog.values())) + sum(worker.owing for worker in self.workers())

    @property
    def together(self) -> int:
        """How many neighbours are ordered as one: only where makes are so short that they go to one lane."""
        return min(MOST_TOGETHER, self.depth, int(_BRIEF_S / self.make_s)) if self.make_s else 1

    def capacity(self) -> int:
        """How many more positions it makes sense to order now: where makes are short, none until they are a handful.

        When others have lanes of which this stream could make use, one order waits for a lane, and so asks for it.
        """
        if not self._loaded or self._stopping:
            return 0
        depth = self.depth
        lanes = self.share.allowed
        most = lanes * depth + (lanes < self.options.workers)
        room = most - sum(map(len, self._backlog.values()))
        for worker in self.workers():  # one that has more than its share, and waits for memory, takes nobody else's
            room -= min(worker.owing, depth * worker.lanes)
        return room if room > 0 and (depth < _TOGETHER or room >= most // 4) else 0

    def order(self, stretches: Iterable[Stretch]) -> None:
        """Have positions of an indexed source made."""
        for stretch in stretches:
            self._backlog.setdefault(self._generations.key(stretch[0]), Backlog()).add((stretch,))

    def pull(self, seat: int, epoch: int, first: int, count: int) -> None:
        """Have one replica of a streamed source make its next batches."""
        for worker in self.workers():
            if worker.seat == seat:
                worker.pull(epoch, first, count)

    def _wake(self) -> None:
        self._hand_out()
        self._flush()

    def _flush(self) -> None:
        """Send what was collected for workers."""
        for worker in list(self._unsent):
            worker.flush()

    def _hand_out(self) -> None:
        """Hand out what waits, to as many lanes as this stream may use now, over all of its generations."""
        if not self._backlog:
            self.share.wait(0)
            return
        ready = [
            (key, generation)
            for key, waiting in self._backlog.items()
            if waiting and (generation := self._generations.find(key)) is not None
        ]
        if not ready:
            self.share.wait(0)
            return
        waits = 0
        lanes = self.share.allowed
        busy, given = [self.share.busy], [lanes]
        if self._generations.hooked:  # then there may be several, each with processes of its own
            busy = [sum(map(_busy, generation.crew.values())) for _, generation in ready]
            given = allot(lanes, [taken + len(self._backlog[key]) for taken, (key, _) in zip(busy, ready, strict=True)])
        for (key, generation), taken, fair in zip(ready, busy, given, strict=True):
            waiting = self._backlog[key]
            before, others = len(waiting), self.share.busy - taken
            idle = self._dispatch(generation, waiting, min(fair, lanes - others))
            waits += min(len(waiting), idle)
            if len(waiting) < before:  # whoever was given something last comes last
                del self._backlog[key]
                if waiting:
                    self._backlog[key] = waiting
        self.share.wait(waits)

    def _dispatch(self, generation: Generation, waiting: Backlog, lanes: int) -> int:
        """Hand out what waits to `lanes` lanes of a generation, busy ones first; how many more could begin at once."""
        self._fill(generation)
        listening = [worker for worker in generation.crew.values() if worker.up and not worker.stopping]
        crew, depth = listening, self.depth
        if lanes < self.options.workers:
            able = [worker for worker in crew if len(worker.needs) < worker.lanes]
            crew = sorted(able, key=lambda one: -one.owing)[: max(0, lanes)]
        while waiting and crew:
            worker = min(crew, key=lambda one: one.owing / one.lanes)
            # a thread begins with each order at once, so fewer lanes than threads are fewer orders
            most = depth * worker.lanes if lanes >= worker.lanes else lanes + len(worker.needs)
            room = most - worker.owing
            if room <= 0:
                break
            share = min(room, len(waiting) if len(waiting) * self.make_s < _BRIEF_S else -(-len(waiting) // len(crew)))
            worker.order(waiting.take(share))
            self.note(worker)
        return sum(max(0, worker.lanes - worker.owing) for worker in listening) if waiting else 0

    def _fill(self, generation: Generation) -> None:
        """Have the workers made that a generation lacks."""
        if len(generation.crew) >= self._seats:
            return
        threads, workers = self.options.threads, self.options.workers
        taken = {worker.seat for worker in generation.crew.values()}
        for seat in range(self._seats):
            if seat not in taken:
                lanes = workers if threads else 1
                worker = generation.fork(next(_numbers), seat, lanes, workers, self._unsent, threads=threads)
                self._watch_worker(generation, worker)

    def _watch_worker(self, generation: Generation, worker: WorkerHandle) -> None:
        self._reactor.watch(worker.channel.fileno(), lambda: self._hear_worker(generation, worker))

    def free(self, slot: Slot) -> None:
        """A slot may be written again."""
        number = self._table.worker(slot.segment)
        self._table.free(slot)
        for generation in self._generations:
            worker = generation.crew.get(number or 0)
            if worker is not None:
                worker.free(slot)

    # -- what workers say ---------------------------------------------------------------------------------------

    def _hear_worker(self, generation: Generation, worker: WorkerHandle) -> None:
        try:
            message = worker.channel.receive(wait=False)
        except BlockingIOError:  # as for a zygote
            return
        if message is None:
            self._reactor.unwatch(worker.channel.fileno())
            if worker.stopping or not generation.alive:
                self._bury(generation, worker, "was told to stop")
        else:
            self._obey(generation, worker, message)
            if "need" not in message:  # else it keeps its lane until it is known that it has to wait
                self.note(worker)

    def note(self, worker: WorkerHandle) -> None:
        """See how many lanes of a worker are busy now: one that waits for memory makes nothing."""
        self.share.note(worker.number, _busy(worker), time.monotonic())

    def _obey(self, generation: Generation, worker: WorkerHandle, message: Message) -> None:
        fds = worker.channel.take_fds()
        for epoch, found, error in message.get("canary", ()):
            worker.canaries.discard(epoch)
            self._hear_canary(generation, epoch, found, error)
        if "made" in message:
            self._deaths.reset()
            for epoch, index, segment, offset, nbytes, count, make_us in message["made"]:
                position, slot = (epoch, index), Slot(segment, offset, nbytes, count)
                worker.answered(position, count)
                worker.made += count
                worker.busy_us += make_us
                self._table.use(slot)
                self._events.made(position, slot, worker.seat)
            self.make_s += (make_us / count / 1e6 - self.make_s) * (0.1 if self.make_s else 1.0)
        elif "segment" in message:
            number, size = message["segment"]
            if not fds:
                self._break(ConfigError("the daemon may open no more files: raise ulimit -n, or ask for fewer batches"))
                return
            worker.granted -= size
            self.claim.arrived(size)
            self._table.add(number, fds[0], size, worker.number, self.claim.number)
        elif "closed" in message:
            for number in message["closed"]:
                self._table.withdraw(number)
            self.claim.press()
        elif "failed" in message:
            self._deaths.reset()
            epoch, index, error = message["failed"]
            if fds:
                with open(fds[0], "rb") as file:
                    file.seek(0)
                    error["raised"] = file.read()
            worker.answered((epoch, index))
            self._events.failed((epoch, index), error, worker.seat)
        elif "need" in message:
            epoch, index, nbytes = message["need"]
            worker.need((epoch, index), nbytes)
            self.claim.pressed = True
        elif "length" in message:
            epoch, length, error = message["length"]
            worker.asked.discard(epoch)
            self._events.length(epoch, length, error)
        elif "ended" in message:
            self._events.ended(message["ended"], worker.seat)
        elif "up" in message:
            worker.up, worker.pid = True, message["up"]
            while self._unasked:
                worker.ask_length(self._unasked.pop())
        elif "broken" in message:
            self._break(LoadError(message["broken"]["message"], message["broken"]["traceback"]))

    # -- deaths -------------------------------------------------------------------------------------------------

    def _worker_died(self, generation: Generation, worker: WorkerHandle, how: str) -> None:
        with contextlib.suppress(BlockingIOError):
            while (message := worker.channel.receive(wait=False)) is not None:
                self._obey(generation, worker, message)
        doing = worker.page.doing(time.monotonic())
        at = ", ".join(f"{one.position[0]}:{one.position[1]}" for one in doing)
        how += f" while it made {at}" if at else " while it made no batch"
        if not worker.stopping and not self._stopping:
            self.restarts += 1
            log.error("worker %d (pid %d) %s; it is replaced", worker.seat, worker.pid, how)
            if doing or not worker.up or worker.age_s < _IDLE_S:  # else somebody else has ended it
                self._count_death(f"worker {worker.seat} {how}")
        self._bury(generation, worker, how, killed=worker.aborted or {one.position for one in doing})
        if not self._stopping and not worker.stopping and generation.alive and (self._indexed or not worker.up):
            self._fill(generation)

    def _bury(
        self, generation: Generation, worker: WorkerHandle, how: str, *, killed: Collection[Position] = ()
    ) -> None:
        generation.crew.pop(worker.number, None)
        self._unsent.pop(worker, None)
        self._table.withdraw_all(worker.number)
        self.share.note(worker.number, 0, time.monotonic())
        self.claim.arrived(worker.granted)
        name = f"worker {worker.seat} (pid {worker.pid})"
        error = {"message": f"{self.spec.target}: {name} {how}", "traceback": "", "worker": name}
        if not self._stopping:
            for position in worker.outstanding:
                self._events.lost(position, error, killed=position in killed)
            for epoch in worker.asked:
                self._ask_length(epoch)
            for epoch in worker.canaries:  # it is asked again, of another, unless it is the canary that kills
                if (epoch, 0) in killed and self.canaries.tried(epoch):
                    self._hear_canary(generation, epoch, "", error["message"])
            if not self._indexed and worker.up:
                self._events.lost_replica(worker.seat, error)
        self._reactor.unwatch(worker.channel.fileno())
        worker.channel.close()

    def _count_death(self, what: str) -> None:
        error = self._deaths.add(what, time.monotonic())
        if error is not None and not self._stopping:
            self._break(error)


def _busy(worker: WorkerHandle) -> int:
    """How many lanes of a worker make something: one that waits for memory does not."""
    return max(0, min(worker.owing, worker.lanes) - len(worker.needs))
