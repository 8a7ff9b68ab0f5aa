"""An account of what must have happened around one stream, slower and simpler than the stream itself.

It says who holds which slot, where each group stands and what it is owed; the stream's decisions are held against it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from enqueued.batch import Position
from enqueued.stream.core import Stream
from enqueued.stream.decisions import Deliver, EndEpoch, Over

LAG_S = 10.0


class Strip(NamedTuple):
    """Slots that follow each other, by their numbers."""

    first: int
    cells: int = 1

    def part(self, skip: int, cells: int) -> Strip:
        """Some of them."""
        assert 0 <= skip < skip + cells <= self.cells
        return Strip(self.first + skip, cells)

    @property
    def numbers(self) -> range:
        """Each of them."""
        return range(self.first, self.first + self.cells)


@dataclass
class Held:
    """A lease as its client sees it."""

    position: Position
    real: Position
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
    """A group, or one rank's lane of it: where it must stand, and what is owed to it a second time."""

    private: bool
    expected: Position
    marked_below: Position = (0, 0)
    generation: int = 0
    owed: set[Position] = field(default_factory=set)
    taken: set[Position] = field(default_factory=set)
    ending: tuple[int, set[str]] = (-1, set())
    lagged: bool = False
    held_until: float = 0.0
    deliveries: int = 0
    team: str | None = None
    rank: int = 0
    stride: int = 1
    base: Position = (0, 0)
    tail: str = "drop"

    def base_in(self, epoch: int) -> int:
        """The index from which the steps of an epoch count."""
        return self.base[1] if self.base[0] == epoch else 0

    def place(self) -> Position:
        """Where the step begins that it is at."""
        return self.expected[0], self.expected[1] - self.rank


@dataclass
class Memory:
    """What is to be known of a named group that has no member."""

    position: Position
    missing: set[Position] = field(default_factory=set)
    taken: set[Position] = field(default_factory=set)
    generation: int = 0
    ranks: bool = False


class Account(RuleBasedStateMachine):
    """A stream, how it began, and what it decides; what else may happen around it is for the world to say."""

    indexed = True
    scale = 1
    """How many times as large everything is."""
    together = 1
    """How many batches are made as one."""

    @initialize(
        queue=st.integers(1, 8),
        lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
        last=st.one_of(st.none(), st.integers(0, 3)),
        reorder=st.sampled_from([0, 0, 1, 3]),
        retries=st.sampled_from([0, 0, 1]),
        skip=st.booleans(),
        size=st.integers(1, 3),
    )
    def begin(
        self, queue: int, lengths: list[int], last: int | None, reorder: int, retries: int, skip: bool, size: int
    ) -> None:
        queue, lengths = queue * self.scale, [length * self.scale - (self.scale - 1) for length in lengths]
        self.reorder = reorder if self.indexed else 0
        self.retries = retries if self.indexed else 0
        self.skip = skip and self.indexed
        self.stream = Stream(
            "train",
            indexed=self.indexed,
            max_queue_size=queue,
            lag_timeout_s=LAG_S,
            reorder_window=self.reorder,
            retries=self.retries,
            skip=self.skip,
        )
        self.size = size
        self.memory: dict[str, Memory] = {}
        self.old_slots: set[int] = set()
        self.failures: Counter[Position] = Counter()
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

    @rule()
    def decide(self) -> None:
        for decision in self.stream.decisions():
            trainer = self.trainers[decision.member]
            crowd = self.crowds[trainer.group]
            assert decision.generation == crowd.generation
            if isinstance(decision, Deliver):
                for n in range(1 if decision.slot is None else decision.slot.cells):
                    self._delivered(_one(decision, n), trainer, crowd)
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
        assert self.now >= crowd.held_until
        assert (told.slot is None) != (told.error is None)
        at = self._due(told, crowd)
        nowhere = isinstance(told.error, dict) and "ranks" in told.error["message"]
        slot = None if told.slot is None else told.slot.first
        held = Held(at, (-1, 0) if nowhere else told.position, slot, released=slot is None)
        trainer.leases[told.lease] = held
        trainer.next_lease += 1
        crowd.deliveries += 1
        if slot is not None:
            assert self.live[slot] == told.position
            self.readers[slot] += 1
        follower = (at[0], at[1] + crowd.stride)
        if isinstance(told.error, dict):
            follower = self._missed(told.error["message"], told.position, crowd)
        elif told.error is not None:
            assert told.error == ("epoch", told.position[0]) or told.position in self.unmade
        if at in crowd.owed:
            assert told.redelivered
            crowd.owed.remove(at)
            return
        assert told.redelivered == (at < crowd.marked_below)
        if at == crowd.expected:
            crowd.expected = follower
            while crowd.expected in crowd.taken:
                crowd.taken.remove(crowd.expected)
                crowd.expected = (crowd.expected[0], crowd.expected[1] + 1)
        else:
            assert at[0] == crowd.expected[0]
            assert 0 < at[1] - crowd.expected[1] <= self.reorder
            assert at not in crowd.taken
            crowd.taken.add(at)

    def _due(self, told: Deliver, crowd: Crowd) -> Position:
        """The position that a group must be at when it is given this."""
        if crowd.team is None:
            assert not told.padded
            return told.position
        lanes = [c for c in self.crowds.values() if c.team == crowd.team]
        assert len(lanes) == crowd.stride
        for lane in lanes:
            if not any(t.group == f"crew/{lane.rank}" for t in self.trainers.values()):
                assert crowd.place() < lane.place()
        rear = min(lane.place() for lane in lanes)
        assert self.stream.gap(rear, crowd.place()) <= max(self.queue, crowd.stride)
        epoch, index = at = crowd.expected
        if epoch in self.opened or not isinstance(told.error, tuple) or told.error[0] != "epoch":
            end = self.end or (0, 0)
            broken = crowd.place() < end < (epoch, crowd.place()[1] + crowd.stride)
            assert index < self.end_index(crowd, epoch) or self.too_short(crowd) or (broken and at < end)
        if index >= self.length(epoch) and not self.too_short(crowd):
            assert crowd.tail == "pad"
            index = (index - self.length(epoch)) % self.length(epoch)
        skipped = self.stream.skipped.get(epoch, set())
        if self.skip and index in skipped:
            index = min(set(range(self.length(epoch))) - skipped, default=index)
        assert told.position == (epoch, index)
        assert told.padded == (told.position != at)
        return at

    def end_index(self, crowd: Crowd, epoch: int) -> int:
        """The index at which an epoch ends for a rank."""
        base = crowd.base[1] if crowd.base[0] == epoch else 0
        rest = max(0, self.length(epoch) - base)
        return base + crowd.stride * (rest // crowd.stride if crowd.tail == "drop" else -(-rest // crowd.stride))

    def too_short(self, crowd: Crowd) -> bool:
        """Whether a whole epoch has nothing for a rank."""
        epoch = crowd.expected[0]
        whole = crowd.base[0] != epoch or crowd.base[1] == 0
        return crowd.team is not None and whole and self.end_index(crowd, epoch) == 0

    def _missed(self, message: str, position: Position, crowd: Crowd) -> Position:
        """A group that was not waited for is told which positions of a streamed source it has missed."""
        if "ranks" in message:
            assert self.too_short(crowd)
            return position[0], position[1] + crowd.stride
        first_epoch, first, epoch, index = map(int, re.findall(r"\d+", message)[:4])
        assert not self.indexed
        assert crowd.lagged
        assert position == (first_epoch, first) < (epoch, index)
        return epoch, index + (crowd.rank - index + crowd.base_in(epoch)) % crowd.stride

    def _unacknowledged(self, group: str) -> bool:
        return any(not h.done for t in self.trainers.values() if t.group == group for h in t.leases.values())

    def _ended(self, told: EndEpoch, trainer: Trainer, crowd: Crowd) -> None:
        assert told.length == self.length(told.epoch)
        assert not trainer.ended or trainer.ended[-1] < told.epoch
        trainer.ended.append(told.epoch)
        if not crowd.ending[1]:
            assert crowd.expected[0] == told.epoch
            assert crowd.expected[1] >= (told.length if crowd.team is None else self.end_index(crowd, told.epoch))
            assert not crowd.taken
            crowd.expected = (told.epoch + 1, crowd.rank)
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


def _one(told: Deliver, n: int) -> Deliver:
    """One of the batches that a member is given together."""
    epoch, index = told.position
    slot = None if told.slot is None else told.slot.part(n, 1)
    return told._replace(lease=told.lease + n, position=(epoch, index + n), slot=slot)
