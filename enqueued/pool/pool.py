"""The workers of one source: generations of zygotes, who makes what, and what happens when one dies."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator

from enqueued.arena.segment import Slot
from enqueued.batch import Position
from enqueued.errors import CrashLoop, LoadError
from enqueued.pool.channel import Message
from enqueued.pool.generation import Generation, Root, death_of
from enqueued.pool.handle import WorkerHandle
from enqueued.pool.memory import Memory
from enqueued.pool.options import PoolEvents, PoolOptions
from enqueued.pool.reactor import Reactor
from enqueued.source.spec import SourceSpec

log = logging.getLogger("enqueued.pool")

_MOST_DEPTH = 64
_TOGETHER = 8
"""From this depth on orders are given together, a quarter of what a lane may have at a time."""
_AHEAD_S = 0.002
"""A lane is given so many orders ahead that it has work for this long while the daemon is busy elsewhere."""
_MOST_DEATHS = 5
"""So many workers may die one after another without a single batch in between."""
_LOOK_S = 0.1
"""How often the pool looks for makes that take too long."""

_numbers = itertools.count(1)  # of workers, across all pools of a process: segments are named by them


class Pool:
    """The processes of one source. `step` has to be called in every turn of the loop, `kill` in the end."""

    def __init__(
        self, spec: SourceSpec, options: PoolOptions, reactor: Reactor, memory: Memory, events: PoolEvents
    ) -> None:
        self.spec = spec
        self.options = options
        self.restarts = 0
        self.make_s = 0.0
        """Mean time of a make; recent ones count most."""
        self._reactor = reactor
        self._memory = memory
        self._table = memory.table
        self._events = events
        self._root: Root
        self._began = 0.0
        self._looked = 0.0
        self._loaded = self._hook = self._stopping = False
        self._indexed = True
        self._generations: dict[int, Generation] = {}
        self._backlog: dict[int, deque[Position]] = {}
        """Positions that wait for a worker, by generation."""
        self._opening: set[int] = set()
        self._unasked: list[int] = []
        self._deaths = 0

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to load the source; `events.loaded` or `events.broken` says how that went."""
        self._began = time.monotonic()
        self._root = Root({"spec": self.spec.to_plain(), "start_method": self.options.start_method})
        self._adopt(self._root.generation)

    def close(self) -> None:
        """Have every process end, workers after the batch that they are making; `closed` says when they have."""
        self._stopping = True
        for generation in self._generations.values():
            generation.quit()

    @property
    def closed(self) -> bool:
        """Whether every worker has ended."""
        return self._stopping and not any(True for _ in self.workers())

    def kill(self) -> None:
        """End what is left of the pool, now."""
        self._stopping = True
        self._root.end(0.0 if any(True for _ in self.workers()) or not self._loaded else 0.2)
        for generation in list(self._generations.values()):
            self._disown(generation)

    def step(self) -> None:
        """Give out what waits, look after slow makes, and send what was collected."""
        now = time.monotonic()
        if not self._loaded:
            if not self._stopping and now - self._began > self.options.load_timeout:
                self._stopping = True
                limit = f"{self.options.load_timeout:g} s (see --load-timeout)"
                self._events.broken(LoadError(f"{self.spec.target} was not loaded within {limit}"))
            return
        for key in [key for key, waiting in self._backlog.items() if waiting]:
            generation = self._generation(key)
            if generation is not None and generation.ready:
                self._dispatch(generation, self._backlog[key])
        for worker in self.workers():
            worker.flush()
        if self.options.make_timeout and now - self._looked > _LOOK_S:
            self._looked = now
            for worker in self.workers():
                self._kill_slow(worker, now)

    def workers(self) -> Iterator[WorkerHandle]:
        """Every worker there is."""
        return itertools.chain.from_iterable(list(g.crew.values()) for g in self._generations.values())

    # -- epochs and generations ---------------------------------------------------------------------------------

    def open(self, epoch: int) -> None:
        """Find out how long an epoch is; a source with `on_epoch_end` gets the generation for it."""
        if self._hook:
            generation = self._generation(epoch)
            if generation is not None and generation.ready:
                self._events.length(epoch, generation.length, None)
        else:
            self._ask_length(epoch)

    def _ask_length(self, epoch: int) -> None:
        worker = next((worker for worker in self.workers() if worker.up and not worker.stopping), None)
        if worker is None:
            self._unasked.append(epoch)
        else:
            worker.ask_length(epoch)

    def _generation(self, epoch: int) -> Generation | None:
        """The generation of an epoch; None while it is being made, out of the nearest earlier one."""
        generation = self._generations.get(epoch if self._hook else 0)
        if (generation is None or not generation.alive) and epoch not in self._opening:
            self._opening.add(epoch)
            self._step_towards(epoch)
        return generation

    def _step_towards(self, epoch: int) -> None:
        before = max((e for e, g in self._generations.items() if e < epoch and g.alive), default=None)
        if before is not None and self._generations[before].ready and before + 1 not in self._generations:
            self._adopt(self._generations[before].next())

    def retire(self, epochs_in_use: set[int]) -> None:
        """End the workers of epochs that no group needs, and all but `max_generations` of their zygotes.

        The first generation stays, because new groups begin there, and so does the newest.
        """
        if not self._hook or self._opening:
            return
        idle = [g for e, g in self._generations.items() if e not in epochs_in_use and g.unused and g.ready]
        for generation in idle:
            for worker in generation.crew.values():
                if worker.up and not worker.stopping:
                    worker.quit()
        surplus = len(self._generations) - self.options.max_generations
        newest = max(self._generations)
        for generation in [g for g in idle if g.epoch not in (0, newest) and g.alive][: max(0, surplus)]:
            generation.quit()

    def _adopt(self, generation: Generation) -> None:
        self._generations[generation.epoch] = generation
        self._reactor.watch(generation.channel.fileno(), lambda: self._hear_zygote(generation))

    def _disown(self, generation: Generation) -> None:
        for worker in list(generation.crew.values()):
            self._bury(generation, worker, "was ended with its zygote", killed=False)
        self._generations.pop(generation.epoch, None)
        self._reactor.unwatch(generation.channel.fileno())
        generation.channel.close()

    # -- orders -------------------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """How many orders a lane may have at a time: more than one only where makes are short."""
        fair = max(1, self.options.max_queue_size // self.options.workers)
        ahead = 1 + int(_AHEAD_S / self.make_s) if self.make_s else 1
        return min(_MOST_DEPTH, ahead, fair)

    def capacity(self) -> int:
        """How many more positions it makes sense to order now: none, where makes are short, until they are a handful."""
        if not self._loaded or self._stopping:
            return 0
        flying = sum(len(worker.outstanding) for worker in self.workers())
        flying += sum(map(len, self._backlog.values()))
        depth = self.depth
        room = self.options.workers * depth - flying
        return room if room > 0 and (depth < _TOGETHER or room >= self.options.workers * depth // 4) else 0

    def order(self, positions: Iterable[Position]) -> None:
        """Have positions of an indexed source made."""
        for position in positions:
            self._backlog.setdefault(position[0] if self._hook else 0, deque()).append(position)

    def pull(self, seat: int, epoch: int, first: int, count: int) -> None:
        """Have one replica of a streamed source make its next batches."""
        for worker in self.workers():
            if worker.seat == seat:
                worker.pull(epoch, first, count)

    def _dispatch(self, generation: Generation, waiting: deque[Position]) -> None:
        self._fill(generation)
        crew = [worker for worker in generation.crew.values() if worker.up and not worker.stopping]
        depth = self.depth
        while waiting and crew:
            worker = min(crew, key=lambda one: len(one.outstanding) / one.lanes)
            room = depth * worker.lanes - len(worker.outstanding)
            if room <= 0:
                return
            share = min(room, -(-len(waiting) // len(crew)))
            worker.order([waiting.popleft() for _ in range(share)])

    def _fill(self, generation: Generation) -> None:
        """Have the workers made that a generation lacks."""
        threads, workers = self.options.threads, self.options.workers
        taken = {worker.seat for worker in generation.crew.values()}
        for seat in range(1 if threads else workers):
            if seat not in taken:
                lanes = workers if threads else 1
                worker = generation.fork(next(_numbers), seat, lanes, workers, threads=threads)
                self._watch_worker(generation, worker)

    def _watch_worker(self, generation: Generation, worker: WorkerHandle) -> None:
        self._reactor.watch(worker.channel.fileno(), lambda: self._hear_worker(generation, worker))

    def free(self, slot: Slot) -> None:
        """A slot may be written again."""
        number = self._table.worker(slot.segment)
        self._table.free(slot)
        for generation in self._generations.values():
            worker = generation.crew.get(number or 0)
            if worker is not None:
                worker.free(slot)

    # -- what processes say -------------------------------------------------------------------------------------

    def _hear_zygote(self, generation: Generation) -> None:
        message = generation.channel.receive(wait=True)
        if message is None:
            self._zygote_died(generation)
        elif "ready" in message:
            self._ready(generation, message["ready"])
        elif "broken" in message:
            self._cannot_load(generation, message["broken"])
        elif "forked" in message:
            number, pid = message["forked"]
            if number in generation.crew:
                generation.crew[number].pid = pid
        elif "exited" in message:
            number, status = message["exited"]
            worker = generation.crew.get(number)
            if worker is not None:
                self._worker_died(generation, worker, death_of(status))

    def _ready(self, generation: Generation, facts: Message) -> None:
        generation.ready = True
        if not self._loaded:
            self._loaded = True
            self._hook, self._indexed = facts["hook"], facts["indexed"]
            self._events.loaded(facts)
        if self._indexed:
            generation.length = facts["length"]
            self._opening.discard(generation.epoch)
            self._events.length(generation.epoch, generation.length, None)
        self._fill(generation)
        for epoch in sorted(self._opening):
            self._step_towards(epoch)

    def _cannot_load(self, generation: Generation, error: Message) -> None:
        if not self._loaded:
            self._stopping = True
            self._events.broken(LoadError(error["message"], error["traceback"]))
            return
        generation.alive = False
        for epoch in sorted(e for e in self._opening if e >= generation.epoch):
            self._opening.discard(epoch)
            for position in self._backlog.pop(epoch, ()):
                self._events.failed(position, error, 0)
            self._events.length(epoch, 0, error)

    def _zygote_died(self, generation: Generation) -> None:
        expected = self._stopping or not generation.alive
        if generation is not self._root.generation:
            self._disown(generation)
            if not expected:
                log.warning("the zygote of epoch %d ended; it is made again when it is needed", generation.epoch)
            for epoch in sorted(self._opening):
                self._step_towards(epoch)
            return
        if expected:
            self._reactor.unwatch(generation.channel.fileno())
            return  # its workers may still be finishing
        how = self._root.end(1.0)
        for one in list(self._generations.values()):
            self._disown(one)
        self._count_death(f"the zygote {how}")
        if not self._loaded:
            self._stopping = True
            self._events.broken(LoadError(f"{self.spec.target}: the process that loaded it {how}"))
        elif not self._stopping:
            log.error("the zygote %s; the source is loaded again", how)
            self._opening.clear()
            self.start()

    def _hear_worker(self, generation: Generation, worker: WorkerHandle) -> None:
        message = worker.channel.receive(wait=True)
        if message is None:
            self._reactor.unwatch(worker.channel.fileno())
            if worker.stopping or not generation.alive:
                self._bury(generation, worker, "was told to stop", killed=False)
        else:
            self._obey(generation, worker, message)

    def _obey(self, generation: Generation, worker: WorkerHandle, message: Message) -> None:
        fds = worker.channel.take_fds()
        if "made" in message:
            self._deaths = 0
            for epoch, index, segment, offset, nbytes, make_us in message["made"]:
                position, slot = (epoch, index), Slot(segment, offset, nbytes)
                worker.outstanding.pop(position, None)
                worker.busy_us += make_us
                self._table.use(slot)
                self._events.made(position, slot, worker.seat)
            worker.made += len(message["made"])
            self.make_s += (make_us / 1e6 - self.make_s) * (0.1 if self.make_s else 1.0)
        elif "segment" in message:
            number, size = message["segment"]
            self._memory.arrived(size)
            self._table.add(number, fds[0], size, worker.number)
        elif "closed" in message:
            for number in message["closed"]:
                self._table.withdraw(number)
        elif "failed" in message:
            epoch, index, error = message["failed"]
            worker.outstanding.pop((epoch, index), None)
            self._events.failed((epoch, index), error, worker.seat)
        elif "need" in message:
            epoch, index, nbytes = message["need"]
            worker.needs = ((epoch, index), nbytes)
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
            error = message["broken"]
            self._stopping = True
            self._events.broken(LoadError(error["message"], error["traceback"]))

    # -- deaths -------------------------------------------------------------------------------------------------

    def _worker_died(self, generation: Generation, worker: WorkerHandle, how: str) -> None:
        with contextlib.suppress(BlockingIOError):
            while (message := worker.channel.receive(wait=False)) is not None:
                self._obey(generation, worker, message)
        doing = worker.page.doing(time.monotonic())
        at = ", ".join(f"{one.position[0]}:{one.position[1]}" for one in doing) or "no batch"
        self._reactor.unwatch(worker.channel.fileno())
        if not worker.stopping and not self._stopping:
            self.restarts += 1
            log.error("worker %d (pid %d) %s while it made %s; it is replaced", worker.seat, worker.pid, how, at)
            self._count_death(f"worker {worker.seat} {how}")
        self._bury(generation, worker, how, killed=True)
        if not self._stopping and generation.alive and (self._indexed or not worker.up):
            self._fill(generation)

    def _bury(self, generation: Generation, worker: WorkerHandle, how: str, *, killed: bool) -> None:
        generation.crew.pop(worker.number, None)
        self._table.withdraw_all(worker.number)
        error = {
            "message": f"{self.spec.target}: worker {worker.seat} (pid {worker.pid}) {how}",
            "traceback": "",
            "worker": f"worker {worker.seat} (pid {worker.pid})",
        }
        if not self._stopping:
            making = {one.position for one in worker.page.doing(time.monotonic())}
            for position in worker.outstanding:
                self._events.lost(position, error, killed=killed and position in making)
            for epoch in worker.asked:
                self._ask_length(epoch)
            if not self._indexed and worker.up:
                self._events.lost_replica(worker.seat, error)
        self._reactor.unwatch(worker.channel.fileno())
        worker.channel.close()

    def _count_death(self, what: str) -> None:
        self._deaths += 1
        if self._deaths >= max(_MOST_DEATHS, 2 * self.options.workers) and not self._stopping:
            self._stopping = True
            self._events.broken(
                CrashLoop(f"{self.spec.target}: {self._deaths} processes ended without making a batch; last, {what}")
            )

    def _kill_slow(self, worker: WorkerHandle, now: float) -> None:
        doing = worker.page.doing(now)
        if not doing or doing[0].seconds < self.options.make_timeout or not worker.pid or worker.needs:
            return
        (epoch, index), seconds = doing[0]
        with contextlib.suppress(ProcessLookupError):
            if worker.aborted:
                if seconds > self.options.make_timeout + 1:
                    os.kill(worker.pid, signal.SIGKILL)
                return
            worker.aborted = True
            log.error("worker %d makes %d:%d for %.1f s; it is ended", worker.seat, epoch, index, seconds)
            os.kill(worker.pid, signal.SIGABRT)  # the worker's faulthandler writes the stacks
