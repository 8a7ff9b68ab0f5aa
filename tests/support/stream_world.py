"""A world around one stream: a pool, trainers and a clock, driven as the daemon drives them.

It keeps a second, slower account of what must have happened: who holds which slot, where each group stands, what it is
owed; every decision of the stream is held against that account.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from enqueued.batch import Position
from enqueued.errors import Refused
from enqueued.stream.core import Stream
from enqueued.stream.decisions import Deliver, EndEpoch, Over

LAG_S = 10.0
NUMBERS = st.integers(0, 999)


@dataclass
class Held:
    """A lease as its client sees it."""

    position: Position
    slot: int | None
    done: bool = False
    released: bool = False


@dataclass
class Trainer:
    """A client: what it holds and what it was told."""

    group: str
    credit: int = 0
    next_lease: int = 0
    leases: dict[int, Held] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    over: bool = False


@dataclass
class Crowd:
    """A group: where it must stand, and what is owed to it a second time."""

    private: bool
    expected: Position
    marked_below: Position = (0, 0)
    generation: int = 0
    owed: set[Position] = field(default_factory=set)
    ending: tuple[int, set[str]] = (-1, set())
    lagged: bool = False
    deliveries: int = 0


class World(RuleBasedStateMachine):
    """Its rules are what may happen; what must hold after each is for the test to say."""

    indexed = True

    @initialize(
        queue=st.integers(1, 8),
        lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
        last=st.one_of(st.none(), st.integers(0, 3)),
    )
    def begin(self, queue: int, lengths: list[int], last: int | None) -> None:
        self.stream = Stream("train", indexed=self.indexed, max_queue_size=queue, lag_timeout_s=LAG_S)
        self.queue, self.sizes, self.last = queue, lengths, last
        self.now = 0.0
        self.hands: list[Position] = []
        self.opening: list[int] = []
        self.opened: set[int] = set()
        self.unmade: set[Position] = set()
        self.end: Position | None = None
        self.live: dict[int, Position] = {}
        self.slots = 0
        self.readers: Counter[int] = Counter()
        self.trainers: dict[str, Trainer] = {}
        self.crowds: dict[str, Crowd] = {}
        self.pinned: dict[tuple[str, int], int] = {}
        self.names = self.most_held = 0

    def length(self, epoch: int) -> int:
        return self.sizes[epoch % len(self.sizes)]

    # -- the pool -----------------------------------------------------------------------------------------------

    @rule(most=st.integers(1, 6))
    def order(self, most: int) -> None:
        """The pool takes orders: each position once, and only such as can be made."""
        before = self.stream.head
        orders = self.stream.orders(most)
        assert len(orders) <= most
        for position in orders:
            epoch, index = position
            assert position not in self.hands
            if self.indexed:
                assert epoch in self.opened
                assert index < self.length(epoch)
            else:
                assert position >= before
                assert self.end is None or position < self.end
            self.hands.append(position)
        asked = self.stream.openings()
        assert not set(asked) & (self.opened | set(self.opening))
        self.opening += asked

    @rule(pick=NUMBERS, fails=st.booleans())
    def open(self, pick: int, fails: bool) -> None:
        if self.opening:
            epoch = self.opening.pop(pick % len(self.opening))
            if fails and all(crowd.expected[1] < self.length(epoch) for crowd in self.crowds.values()):
                self.stream.epoch_failed(epoch, ("epoch", epoch))
            else:
                self.opened.add(epoch)
                self.stream.epoch_length(epoch, self.length(epoch))

    @rule(pick=NUMBERS, how=st.sampled_from(["made", "made", "made", "made", "failed", "killed", "lost", "broke"]))
    def finish(self, pick: int, how: str) -> None:
        """A worker answers for one of the positions it was given."""
        if not self.hands:
            return
        position = self.hands.pop(pick % len(self.hands))
        if not self.indexed and position[1] >= self.length(position[0]):
            self._ends(position[0])
        elif how == "made":
            self._make(position)
        elif how == "failed" or not self.indexed:
            self.unmade.add(position)
            self.stream.failed(position, ("failed", position))
            if how == "broke":
                self._over((position[0], position[1] + 1))
        else:
            self.unmade.add(position)
            self.stream.lost(position, ("failed", position), killed=how == "killed")

    def _make(self, position: Position) -> None:
        self.slots += 1
        self.live[self.slots] = position
        self.stream.made(position, self.slots)

    def _ends(self, epoch: int) -> None:
        """The generator of an epoch has ended, with orders beyond its end still out."""
        self.hands = [p for p in self.hands if p[0] != epoch or p[1] < self.length(epoch)]
        if epoch not in self.opened and (self.end is None or self.end > (epoch, self.length(epoch))):
            self.opened.add(epoch)
            self.stream.epoch_length(epoch, self.length(epoch))
            if self.last is not None and epoch >= self.last:
                self._over((epoch + 1, 0))

    def _over(self, position: Position) -> None:
        if self.end is None or position < self.end:
            self.end = position
            self.stream.over_from(position)

    @rule(limit=st.integers(0, 9))
    def resize(self, limit: int) -> None:
        self.stream.resize(limit)

    @rule(most=st.integers(1, 3))
    def evict(self, most: int) -> None:
        before, spare = self.stream.window.queued, self.stream.spare()[:most]
        self.stream.evict(spare)
        assert self.stream.window.queued == before - len(spare)

    # -- the trainers -------------------------------------------------------------------------------------------

    @rule(
        group=st.sampled_from([None, "red", "blue"]),
        start=st.sampled_from(["first", "live", (0, 2), (1, 0), (3, 1)]),
        repeated=st.booleans(),
        credit=st.integers(0, 4),
    )
    def join(self, group: str | None, start: str | Position, repeated: bool, credit: int) -> None:
        if len(self.trainers) >= 5:
            return
        self.names += 1
        name = f"t{self.names}"
        try:
            found = self.stream.join(name, group=group, start=start, repeated=repeated)
        except Refused:
            assert not self.indexed
            assert start != "live"
            assert name not in self.stream.members
            return
        if found.name not in self.crowds:
            self.crowds[found.name] = Crowd(group is None, found.cursor)
            if start != "live":
                assert found.cursor == ((0, 0) if start == "first" else start)
            if repeated:
                self.crowds[found.name].marked_below = (found.cursor[0] + 1, 0)
        elif repeated and not isinstance(start, str) and start[0] > found.cursor[0]:
            crowd = self.crowds[found.name]
            crowd.marked_below = max(crowd.marked_below, (start[0] + 1, 0))
        self.trainers[name] = Trainer(found.name, credit)
        self.stream.allow(name, credit)

    def some(self, pick: int) -> tuple[str, Trainer]:
        return list(self.trainers.items())[pick % len(self.trainers)]

    @precondition(lambda self: self.trainers)
    @rule(pick=NUMBERS, credit=st.integers(0, 5))
    def allow(self, pick: int, credit: int) -> None:
        name, trainer = self.some(pick)
        trainer.credit = credit
        self.stream.allow(name, credit)

    @precondition(lambda self: self.trainers)
    @rule(pick=NUMBERS, first=NUMBERS, count=st.integers(1, 6), done=st.booleans(), release=st.booleans())
    def hand_back(self, pick: int, first: int, count: int, done: bool, release: bool) -> None:
        """A trainer gives back a run of leases, some of which it may have given back before or never had."""
        name, trainer = self.some(pick)
        first %= trainer.next_lease + 1
        if done:
            self.stream.done(name, [(first, count)])
        if release:
            self.stream.release(name, [(first, count)])
        for number in range(first, first + count):
            held = trainer.leases.get(number)
            if held is not None:
                held.done |= done
                self._release(held, release)
        trainer.leases = {n: h for n, h in trainer.leases.items() if not (h.done and h.released)}

    def _release(self, held: Held, release: bool) -> None:
        if release and not held.released:
            held.released = True
            if held.slot is not None:
                self.readers[held.slot] -= 1

    @rule(pick=NUMBERS, count=st.sampled_from([1, 3, 1 << 40]))
    def babble(self, pick: int, count: int) -> None:
        """Runs from strangers, and runs of leases that were never given, change nothing."""
        self.stream.done("stranger", [(pick, count)])
        self.stream.release("stranger", [(pick, count)])
        self.stream.allow("stranger", 3)
        for name, trainer in self.trainers.items():
            self.stream.release(name, [(trainer.next_lease + pick, count)])

    @precondition(lambda self: self.trainers)
    @rule(pick=NUMBERS, pin=st.booleans())
    def leave(self, pick: int, pin: bool) -> None:
        """A trainer dies; a socket may still read some of what it held."""
        name, trainer = self.some(pick)
        del self.trainers[name]
        crowd = self.crowds[trainer.group]
        others = any(t.group == trainer.group for t in self.trainers.values())
        pinned = {n: h.slot for n, h in trainer.leases.items() if pin and h.slot and not h.released and (n + pick) % 2}
        for number, held in trainer.leases.items():
            if not held.done:
                crowd.owed.add(held.position)
            if number in pinned:
                self.pinned[name, number] = pinned[number] or 0
            else:
                self._release(held, True)
        crowd.ending[1].discard(name)
        if not others:
            del self.crowds[trainer.group]
        self.stream.leave(name, pinned)

    @rule(pick=NUMBERS)
    def unpin(self, pick: int) -> None:
        if self.pinned:
            name, number = list(self.pinned)[pick % len(self.pinned)]
            self.readers[self.pinned.pop((name, number))] -= 1
            self.stream.release(name, [(number, 1)])

    @precondition(lambda self: self.trainers)
    @rule(pick=NUMBERS, epoch=st.integers(0, 3), index=st.integers(0, 7), old=st.booleans())
    def seek(self, pick: int, epoch: int, index: int, old: bool) -> None:
        name, trainer = self.some(pick)
        crowd = self.crowds[trainer.group]
        if old:
            self.stream.seek(name, crowd.generation, (epoch, index))
            return
        try:
            self.stream.seek(name, crowd.generation + 1, (epoch, index))
        except Refused:
            assert not crowd.private or not self.indexed
            return
        crowd.generation += 1
        crowd.expected, trainer.over = (epoch, index), False
        trainer.ended.clear()
        for held in trainer.leases.values():
            held.done = True
        trainer.leases = {n: h for n, h in trainer.leases.items() if not h.released}

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.stream.tick(self.now)

    # -- what the stream decides --------------------------------------------------------------------------------

    @rule()
    def decide(self) -> None:
        for decision in self.stream.decisions():
            trainer = self.trainers[decision.member]
            crowd = self.crowds[trainer.group]
            assert decision.generation == crowd.generation
            if isinstance(decision, Deliver):
                self._delivered(decision, trainer, crowd)
            elif isinstance(decision, EndEpoch):
                self._ended(decision, trainer, crowd)
            else:
                self._is_over(decision, trainer, crowd)
        assert not any(crowd.ending[1] for crowd in self.crowds.values())

    def _delivered(self, told: Deliver, trainer: Trainer, crowd: Crowd) -> None:
        assert len(trainer.leases) < trainer.credit
        assert told.lease == trainer.next_lease
        assert not trainer.over
        assert not crowd.ending[1]
        assert (told.slot is None) != (told.error is None)
        held = Held(told.position, told.slot, released=told.slot is None)
        trainer.leases[told.lease] = held
        trainer.next_lease += 1
        crowd.deliveries += 1
        if told.slot is not None:
            assert self.live[told.slot] == told.position
            self.readers[told.slot] += 1
        follower = (told.position[0], told.position[1] + 1)
        if isinstance(told.error, dict):
            follower = self._missed(told.error["message"], told.position, crowd)
        elif told.error is not None:
            assert told.error == ("epoch", told.position[0]) or told.position in self.unmade
        if told.position in crowd.owed:
            assert told.redelivered
            crowd.owed.remove(told.position)
        else:
            assert told.position == crowd.expected
            assert told.redelivered == (told.position < crowd.marked_below)
            crowd.expected = follower

    def _missed(self, message: str, position: Position, crowd: Crowd) -> Position:
        """A group that was not waited for is told which positions of a streamed source it has missed."""
        first_epoch, first, epoch, index = map(int, re.findall(r"\d+", message)[:4])
        assert not self.indexed
        assert crowd.lagged
        assert position == (first_epoch, first) < (epoch, index)
        return epoch, index

    def _unacknowledged(self, group: str) -> bool:
        return any(not h.done for t in self.trainers.values() if t.group == group for h in t.leases.values())

    def _ended(self, told: EndEpoch, trainer: Trainer, crowd: Crowd) -> None:
        assert told.length == self.length(told.epoch)
        assert not trainer.ended or trainer.ended[-1] < told.epoch
        trainer.ended.append(told.epoch)
        if not crowd.ending[1]:
            assert crowd.expected[0] == told.epoch
            assert crowd.expected[1] >= told.length
            crowd.expected = (told.epoch + 1, 0)
            crowd.ending = (told.epoch, {n for n, t in self.trainers.items() if t.group == trainer.group})
        assert crowd.ending[0] == told.epoch
        crowd.ending[1].remove(told.member)
        if not crowd.private:
            assert not crowd.owed
            assert not self._unacknowledged(trainer.group)

    def _is_over(self, told: Over, trainer: Trainer, crowd: Crowd) -> None:
        assert not trainer.over
        assert self.end is not None
        assert crowd.expected >= self.end
        assert crowd.private or not (crowd.owed or self._unacknowledged(trainer.group))
        trainer.over = True
