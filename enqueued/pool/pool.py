"""The processes of one source: the zygote that loads it, those of later epochs, and their workers."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Iterable

from enqueued.errors import LoadError
from enqueued.pool.canary import UNREPRODUCIBLE
from enqueued.pool.channel import Message
from enqueued.pool.crew import Crew
from enqueued.pool.deaths import death_of
from enqueued.pool.generation import Generation, Root
from enqueued.pool.options import Means, PoolEvents
from enqueued.stream.plan import Stretch

log = logging.getLogger("enqueued.pool")

_TRIES = 3
"""An epoch whose zygote died so often before it was ready is given up."""
_LOOK_S = 0.1
"""How often the pool looks for makes that take too long."""


class Pool(Crew):
    """The processes of one source. `step` has to be called in every turn of the loop, `kill` in the end."""

    def __init__(self, means: Means, events: PoolEvents) -> None:
        super().__init__(means, events)
        self._root: Root | None = None
        self._began = 0.0
        self._looked = 0.0
        self._lost: Counter[int] = Counter()
        """How often the zygote of an epoch died before it was ready."""
        self.facts: Message = {}
        """What the zygote has found out about the source."""
        self._changed = ""
        """The source's file, if it had changed when the source was loaded again."""
        self._briefing: tuple[Message, tuple[int, ...]] = ({}, ())
        self._refuted: tuple[int, Message] | None = None
        """The first epoch that cannot be reproduced, and what is told in place of it and of all that follow."""

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to load the source; `events.loaded` or `events.broken` says how that went."""
        self._began = time.monotonic()
        boot = {"spec": self.spec.to_plain(), "start_method": self.options.start_method}
        self._root = root = self.options.root(boot)
        root.generation.briefing = self._briefing
        self._generations.add(root.generation)

    def _is_root(self, generation: Generation) -> bool:
        return self._root is not None and generation is self._root.generation

    def _end_root(self, within_s: float) -> str:
        """End the first zygote, if there is one: once, for what it had is given back; how it ended."""
        root, self._root = self._root, None
        return "ended" if root is None else root.end(within_s)

    @property
    def waits(self) -> bool:
        """Whether a position waits for a worker that can take it."""
        return any(self._backlog.values())

    def brief(self, message: Message, *fds: int) -> None:
        """Tell every worker something before its next order, also those that are made later.

        The descriptors that go with it stay the caller's, who closes them after the next call.
        """
        self._briefing = message, fds
        for generation in self._generations:
            generation.brief(message, fds)

    def replant(self) -> None:
        """Have the source loaded again, when nothing is being made: the first zygote that follows has it as it is."""
        self._end_root(0.0)
        for generation in self._generations:
            self._disown(generation)
        self.start()

    def close(self) -> None:
        """Have every process end, workers after the batch that they are making; `closed` says when they have."""
        self._stopping = True
        self._backlog.clear()
        for generation in self._generations:
            generation.quit()

    @property
    def closed(self) -> bool:
        """Whether every worker has ended."""
        return self._stopping and not self.workers()

    def kill(self) -> None:
        """End what is left of the pool, now."""
        self._stopping = True
        self.share.leave()
        self._end_root(0.0 if self.workers() or not self._loaded else 0.2)
        for generation in self._generations:
            self._disown(generation)

    def step(self, now: float) -> None:
        """Give out what waits, look after slow makes, and send what was collected."""
        if not self._loaded:
            if not self._stopping and now - self._began > self.options.load_timeout:
                limit = f"{self.options.load_timeout:g} s (see --load-timeout)"
                self._break(LoadError(f"{self.spec.target} was not loaded within {limit}"))
            return
        self.share.tick(now)
        self._hand_out()
        self.share.pass_on()
        self._ask_canaries()
        self._flush()
        if now - self._looked > _LOOK_S:
            self._looked = now
            self._look(now)

    def _look(self, now: float) -> None:
        """End what takes too long, or is not wanted any more."""
        self.canaries.expire(now)
        if self.options.make_timeout:
            for worker in self.workers():
                worker.end_if_slow(self.options.make_timeout, now)
        for generation in self._generations:
            if generation.end_if_slow(self.options.load_timeout, now):
                log.error("epoch %d was not opened within %g s", generation.epoch, self.options.load_timeout)

    # -- epochs and generations ---------------------------------------------------------------------------------

    def open(self, epoch: int) -> None:
        """Find out how long an epoch is; a source with `on_epoch_end` gets the generation for it."""
        if self._refuted is not None and epoch >= self._refuted[0]:
            self._events.length(epoch, 0, self._refuted[1])
        elif self._generations.hooked:
            generation = self._generations.find(epoch)
            if generation is not None:
                self._events.length(epoch, generation.length, None)
        else:
            self._ask_length(epoch)

    def retire(self, epochs_in_use: set[int]) -> None:
        """End the workers of epochs that no group needs, and all but `max_generations` of their zygotes."""
        epochs_in_use = epochs_in_use | self.canaries.wanted.keys()
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
        if self._is_root(generation):
            self._changed = facts["file"] if self.facts and self.facts["hash"] != facts["hash"] else ""
            self.facts = facts
        if not self._loaded:
            self._loaded = True
            self._generations.hooked, self._indexed = facts["hook"], facts["indexed"]
            self._events.loaded(facts)
        generation.length = facts["length"] or 0
        generation.proof = self._proof(generation)
        if generation.proof is None:
            self._begin(generation)

    def _begin(self, generation: Generation) -> None:
        """An image may be used from now on."""
        if self._indexed:
            self._generations.opening.discard(generation.epoch)
            self._lost.pop(generation.epoch, None)
            self._events.length(generation.epoch, generation.length, None)
        self._fill(generation)
        self._generations.proceed()

    def _cannot_load(self, generation: Generation, error: Message) -> None:
        if self._is_root(generation):
            self._break(LoadError(error["message"], error["traceback"]))
            return
        generation.alive = False
        self._give_up(generation, error)

    def _give_up(self, generation: Generation, error: Message) -> None:
        """The epoch of this image, and what would be made out of it, cannot be given."""
        for epoch in self._generations.given_up(generation):
            self.canaries.fail(epoch, error["message"])
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
        root = self._is_root(generation)
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
        how = self._end_root(1.0)
        for generation in self._generations:
            self._disown(generation)
        if not self._loaded:
            self._break(LoadError(f"{self.spec.target}: the process that loaded it {how}"))
            return
        self._count_death(f"the zygote {how}")
        if not self._stopping:
            log.error("the zygote %s; the source is loaded again", how)
            self._refuted = None
            if self.canaries.latest is not None:
                self.canaries.wanted[self.canaries.latest] = math.inf  # later epochs are reached by way of this one
            self.start()

    # -- canaries -----------------------------------------------------------------------------------------------

    def canary(self, epoch: int) -> str | None:
        """The checksum of an indexed epoch's first batch, or ``"error: ..."``; None when it is still to come."""
        if self._refuted is not None and epoch >= self._refuted[0]:
            return f"error: {self._refuted[1]['message']}"
        return self.canaries.get(epoch)

    def order(self, stretches: Iterable[Stretch]) -> None:
        """Have positions of an indexed source made, unless they would not be what they were."""
        if self._refuted is not None:
            refused, stretches = stretches, []
            for stretch in refused:
                epoch, first, count = stretch
                if epoch < self._refuted[0]:
                    stretches.append(stretch)
                    continue
                for index in range(first, first + count):
                    self._events.failed((epoch, index), self._refuted[1], 0)
        super().order(stretches)

    def _proof(self, generation: Generation) -> int | None:
        """The epoch whose canary must show that a new image is like the one before it; None for the first."""
        epoch = generation.epoch if self._generations.hooked else self.canaries.latest
        return epoch if epoch is not None and self.canaries.known(epoch) is not None else None

    def _ask_canaries(self) -> None:
        asked = [(one, one.proof) for one in self._generations if one.proof is not None and one.ready and one.alive]
        for epoch in list(self.canaries.wanted):
            generation = self._generations.find(epoch)
            if generation is not None:
                asked.append((generation, epoch))
        for generation, epoch in asked:
            crew = list(generation.crew.values())
            if not any(epoch in worker.canaries for worker in crew):
                listening = [worker for worker in crew if worker.up and not worker.stopping]
                if listening:
                    min(listening, key=lambda one: one.owing).ask_canary(epoch)
                else:
                    self._fill(generation)

    def _hear_canary(self, generation: Generation, epoch: int, found: str, error: str) -> None:
        if generation.proof != epoch:
            if found:
                self.canaries.learn(epoch, found)
            else:
                self.canaries.fail(epoch, error)
        elif found == self.canaries.known(epoch):
            generation.proof = None
            self.canaries.learn(epoch, found)
            self._begin(generation)
        elif found or self.canaries.tried(epoch):
            self._refute(generation, epoch, found or error)

    def _refute(self, generation: Generation, epoch: int, found: str) -> None:
        """An image that was made again gives other batches than it did: nobody is given them unaware."""
        message = self.canaries.refutation(epoch, found, self._changed)
        log.error("%s", message)
        error = {"message": message, "traceback": "", "worker": "the zygote", "kind": UNREPRODUCIBLE}
        first = generation.epoch
        self._refuted = (first, error)
        for key in [key for key in self._backlog if key >= first]:
            for position in self._backlog.pop(key):
                self._events.failed(position, error, 0)
        for wanted in [wanted for wanted in self.canaries.wanted if wanted >= first]:
            self.canaries.fail(wanted, message)
        self._give_up(generation, error)
