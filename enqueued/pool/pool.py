"""The processes of one source: the zygote that loads it, those of later epochs, and their workers."""

from __future__ import annotations

import logging
import time
from collections import Counter

from enqueued.errors import LoadError
from enqueued.pool.channel import Message
from enqueued.pool.crew import Crew
from enqueued.pool.deaths import death_of
from enqueued.pool.generation import Generation, Root
from enqueued.pool.memory import Memory
from enqueued.pool.options import PoolEvents, PoolOptions
from enqueued.pool.reactor import Reactor
from enqueued.source.spec import SourceSpec

log = logging.getLogger("enqueued.pool")

_TRIES = 3
"""An epoch whose zygote died so often before it was ready is given up."""
_LOOK_S = 0.1
"""How often the pool looks for makes that take too long."""


class Pool(Crew):
    """The processes of one source. `step` has to be called in every turn of the loop, `kill` in the end."""

    def __init__(
        self, spec: SourceSpec, options: PoolOptions, reactor: Reactor, memory: Memory, events: PoolEvents
    ) -> None:
        super().__init__(spec, options, reactor, memory, events)
        self._root: Root
        self._began = 0.0
        self._looked = 0.0
        self._lost: Counter[int] = Counter()
        """How often the zygote of an epoch died before it was ready."""

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to load the source; `events.loaded` or `events.broken` says how that went."""
        self._began = time.monotonic()
        self._root = Root({"spec": self.spec.to_plain(), "start_method": self.options.start_method})
        self._generations.add(self._root.generation)

    def close(self) -> None:
        """Have every process end, workers after the batch that they are making; `closed` says when they have."""
        self._stopping = True
        self._backlog.clear()
        for generation in self._generations:
            generation.quit()

    @property
    def closed(self) -> bool:
        """Whether every worker has ended."""
        return self._stopping and not any(True for _ in self.workers())

    def kill(self) -> None:
        """End what is left of the pool, now."""
        self._stopping = True
        self._root.end(0.0 if any(True for _ in self.workers()) or not self._loaded else 0.2)
        for generation in self._generations:
            self._disown(generation)

    def step(self) -> None:
        """Give out what waits, look after slow makes, and send what was collected."""
        now = time.monotonic()
        if not self._loaded:
            if not self._stopping and now - self._began > self.options.load_timeout:
                limit = f"{self.options.load_timeout:g} s (see --load-timeout)"
                self._break(LoadError(f"{self.spec.target} was not loaded within {limit}"))
            return
        for key in [key for key, waiting in self._backlog.items() if waiting]:
            generation = self._generations.find(key)
            if generation is not None:
                self._dispatch(generation, self._backlog[key])
        for worker in self.workers():
            worker.flush()
        if now - self._looked > _LOOK_S:
            self._looked = now
            self._look(now)

    def _look(self, now: float) -> None:
        """End what takes too long."""
        if self.options.make_timeout:
            for worker in self.workers():
                worker.end_if_slow(self.options.make_timeout, now)
        for generation in self._generations:
            if generation.end_if_slow(self.options.load_timeout, now):
                log.error("epoch %d was not opened within %g s", generation.epoch, self.options.load_timeout)

    # -- epochs and generations ---------------------------------------------------------------------------------

    def open(self, epoch: int) -> None:
        """Find out how long an epoch is; a source with `on_epoch_end` gets the generation for it."""
        if self._generations.hooked:
            generation = self._generations.find(epoch)
            if generation is not None:
                self._events.length(epoch, generation.length, None)
        else:
            self._ask_length(epoch)

    def retire(self, epochs_in_use: set[int]) -> None:
        """End the workers of epochs that no group needs, and all but `max_generations` of their zygotes."""
        self._generations.retire(epochs_in_use)
        for generation in self._generations.forsaken(epochs_in_use, time.monotonic()):
            generation.kill()
            message = f"{self.spec.target}: epoch {generation.epoch} was not opened: its client has left"
            self._cannot_load(generation, {"message": message, "traceback": "", "worker": "the zygote"})

    def _watch_zygote(self, generation: Generation) -> None:
        self._reactor.watch(generation.channel.fileno(), lambda: self._hear_zygote(generation))

    def _disown(self, generation: Generation) -> None:
        for worker in list(generation.crew.values()):
            self._bury(generation, worker, "was ended with its zygote")
        generation.gone = True
        self._generations.discard(generation)
        self._reactor.unwatch(generation.channel.fileno())
        generation.channel.close()

    # -- what processes say -------------------------------------------------------------------------------------

    def _hear_zygote(self, generation: Generation) -> None:
        try:
            message = generation.channel.receive(wait=False)
        except BlockingIOError:  # what could be read was another channel, with the same number, that is closed now
            return
        if message is None:
            self._zygote_ended(generation)
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
        elif "stepped" in message:
            number, pid = message["stepped"]
            following = self._generations.numbered(number)
            if following is not None:
                following.pid = pid
        elif "progress" in message:
            generation.progressed()
        elif "gone" in message:
            number, status = message["gone"]
            following = self._generations.numbered(number)
            if following is not None and not following.ready and following.alive:
                self._cannot_open(following, death_of(status))

    def _ready(self, generation: Generation, facts: Message) -> None:
        generation.ready = True
        generation.parent = None  # else each epoch would hold on to all before it
        if not self._loaded:
            self._loaded = True
            self._generations.hooked, self._indexed = facts["hook"], facts["indexed"]
            self._events.loaded(facts)
        if self._indexed:
            generation.length = facts["length"]
            self._generations.opening.discard(generation.epoch)
            self._lost.pop(generation.epoch, None)
            self._events.length(generation.epoch, generation.length, None)
        self._fill(generation)
        self._generations.proceed()

    def _cannot_load(self, generation: Generation, error: Message) -> None:
        if generation is self._root.generation:
            self._break(LoadError(error["message"], error["traceback"]))
            return
        generation.alive = False
        for epoch in self._generations.given_up(generation):
            for position in self._backlog.pop(epoch, ()):
                self._events.failed(position, error, 0)
            self._events.length(epoch, 0, error)

    def _cannot_open(self, generation: Generation, how: str) -> None:
        epoch = generation.epoch
        message = f"{self.spec.target}: the process that ran on_epoch_end for epoch {epoch} {how}"
        log.error("%s", message)
        self._count_death(message)
        self._lost[epoch] += 1
        if generation.killed or self._lost[epoch] >= _TRIES:
            del self._lost[epoch]
            self._cannot_load(generation, {"message": message, "traceback": "", "worker": "the zygote"})
        self._drop(generation)  # else it is still to be opened, and so it is tried again

    def _drop(self, generation: Generation) -> None:
        self._disown(generation)
        for following in self._generations.children(generation):
            if following.silent:
                self._disown(following)  # it was lost with this one
        self._generations.proceed()

    def _zygote_ended(self, generation: Generation) -> None:
        root = generation is self._root.generation
        expected = self._stopping or not generation.alive
        if root and expected:
            self._reactor.unwatch(generation.channel.fileno())  # its workers may still be finishing
        elif root:
            self._root_died()
        elif expected or generation.ready or generation.parent is None or generation.parent.gone:
            if not expected:
                log.warning("the zygote of epoch %d ended; it is made again when it is needed", generation.epoch)
            self._drop(generation)
        else:
            generation.silent = True  # the one that it was forked from says how it ended
            self._reactor.unwatch(generation.channel.fileno())

    def _root_died(self) -> None:
        how = self._root.end(1.0)
        for generation in self._generations:
            self._disown(generation)
        if not self._loaded:
            self._break(LoadError(f"{self.spec.target}: the process that loaded it {how}"))
            return
        self._count_death(f"the zygote {how}")
        if not self._stopping:
            log.error("the zygote %s; the source is loaded again", how)
            self.start()
