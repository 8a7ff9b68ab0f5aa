"""Random histories of a stream, driven as the daemon drives it and checked after every step.

`HISTORIES=20000 pytest --timeout 0 tests/stream/test_histories.py` is the long attack; the default is for every day.
"""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import Phase, settings
from hypothesis.stateful import invariant, rule

from enqueued.stream.window import FAILED, ORDERED, READY
from stream_account import LAG_S, Trainer
from stream_world import World

ATTACK = int(os.environ.get("HISTORIES", "0"))
PROFILE = settings(
    max_examples=ATTACK or 250,
    stateful_step_count=50,
    deadline=None,
    derandomize=not ATTACK,
    database=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
)


class Histories(World):
    """All that may happen around an indexed source."""

    @invariant()
    def check(self) -> None:
        """Slots, leases and counts agree with the account kept here."""
        window = self.stream.window
        for slot in [number for strip in window.freed for number in strip.numbers]:
            assert self.readers[slot] == 0
            del self.live[slot]
            self.old_slots.discard(slot)
        window.freed.clear()
        entries = window.entries
        there = {slot: p for slot, p in self.live.items() if slot not in self.old_slots}
        lie = {e.slot.first + p[1] - e.position[1]: p for p, e in entries.items() if e.slot is not None}
        assert lie == there
        assert window.queued == sum(e.wanted for e in entries.values())
        uses = Counter(h.real for t in self.trainers.values() for h in t.leases.values())
        uses.update(self.live[slot] for slot in self.pinned.values() if slot not in self.old_slots)
        for position, entry in entries.items():
            assert position in entry.positions()
            if entry.count == 1:
                assert entry.uses == uses[position]
            else:
                assert bool(entry.uses) == any(uses[one] for one in entry.positions())
            assert entry.uses or entry.wanted or entry.state == ORDERED
            assert (entry.state == READY) == (entry.slot is not None)
            assert not entry.wanted or any(map(self.stream.wanted, entry.positions()))
        for group in self.stream.holders if self.indexed else ():
            epoch, index = group.cursor
            while (epoch, index) < group.planned:
                own = group.team is None or self.stream.takes(group, (epoch, index))
                assert not own or {(epoch, index)} & (entries.keys() | group.taken) or index >= self.length(epoch)
                epoch, index = (epoch, index + 1) if index + 1 < self.length(epoch) else (epoch + 1, 0)
        self.look()
        for name, crowd in self.crowds.items():
            group = self.stream.groups[name]
            assert set(group.redeliver) == crowd.owed
            assert len(group.redeliver) == len(crowd.owed)
            assert group.cursor == crowd.expected
            assert group.taken == crowd.taken
        owed = sum(len(c.owed) for c in self.crowds.values())
        errors = sum(e.state >= FAILED for e in entries.values())
        making = sum(e.state == ORDERED and not e.wanted for e in entries.values())
        beside = sum(e.count - 1 for e in window.distinct() if e.uses)  # a run is kept whole
        self.most_held = max(self.most_held, sum(uses.values()) + beside + making)
        lanes = sum(crowd.stride for crowd in self.crowds.values() if crowd.team)
        whole = sum(not self.stream.wanted(position) for position, e in entries.items() if e.wanted)  # for the others
        room = self.queue + len(self.stream.holders) + owed + errors + self.most_held + lanes + whole
        assert window.queued <= room
        assert {n: (m.position, m.missing, m.taken) for n, m in self.memory.items()} == {
            n: (s.position, set(s.missing), set(s.taken)) for n, s in self.stream.remembered.items()
        }

    def run_pool(self) -> None:
        """Let the pool make whatever is ordered until it is asked for nothing more."""
        while True:
            self.decide()
            self.order(64)
            self.check()
            if not self.hands and not self.opening:
                return
            while self.opening:
                self.open(0, False)
            while self.hands:
                self.finish(0, "made")

    def waits(self, name: str) -> bool:
        """Whether a member could be given a batch, and neither its own group's leases nor the end forbid it."""
        trainer = self.trainers[name]
        crowd = self.crowds[trainer.group]
        epoch, index = crowd.expected
        at_end = (epoch in self.opened and index >= self.length(epoch)) or crowd.expected == self.end
        held_up = at_end and not crowd.private and self._unacknowledged(trainer.group)
        held_up |= self.now < crowd.held_until
        if crowd.team is not None:
            lanes = [one for one in self.crowds.values() if one.team == crowd.team and one is not crowd]
            live = {t.group for t in self.trainers.values()}
            reach = max(1, self.stream.limit // (1 + sum(one.team is None for one in self.crowds.values())))
            held_up = any(
                crowd.place() >= lane.place()
                if f"crew/{lane.rank}" not in live
                else crowd.place() > lane.place() or crowd.expected[1] >= lane.expected[1] + reach
                for lane in lanes
            )
        return len(trainer.leases) < trainer.credit and not trainer.over and not held_up

    @rule()
    def rest(self) -> None:
        """A member that still waits when the pool has nothing to do waits for a group behind it, for the lag time."""
        self.run_pool()
        waiting = {self.trainers[name].group for name in self.trainers if self.waits(name)}
        for name in waiting:
            behind = [n for n, c in self.crowds.items() if c.expected < self.crowds[name].expected]
            assert set(behind) - waiting
        before = -1
        while before != self.stream.delivered:  # what was waited for may move, and be waited for again
            before = self.stream.delivered
            self.wait(LAG_S + 1)
            self.run_pool()
        assert not [name for name in self.trainers if self.waits(name)]

    def complete(self) -> None:
        """All ranks come, so that the others can go on."""
        if "crew" not in self.stream.teams:
            return
        team = self.stream.teams["crew"]
        for rank in team.absent:
            name = self._name()
            lane = self.stream.join(
                name, group="crew", rank=rank, world_size=team.world_size, tail=team.tail, origin=team.origin
            )
            self.trainers[name] = Trainer(lane.name, 1)
            self.check()

    def teardown(self) -> None:
        """All groups get on when their members work; when all have left, only the look-ahead for the next remains."""
        if not hasattr(self, "stream"):
            return
        self.complete()
        self.wait(LAG_S + 1)  # what waits for members of before does so no longer
        for name, trainer in self.trainers.items():
            trainer.credit = max(1, trainer.credit)
            self.stream.allow(name, trainer.credit)
            self.check()
        goals = {name: crowd.deliveries + 4 for name, crowd in self.crowds.items()}
        while any(
            crowd.deliveries < goals[name] and any(t.group == name and not t.over for t in self.trainers.values())
            for name, crowd in self.crowds.items()
        ):
            before = self.stream.delivered, sum(t.over for t in self.trainers.values())
            for name, trainer in self.trainers.items():
                self.hand_back(list(self.trainers).index(name), 0, trainer.next_lease, True, True)
                assert not trainer.leases
            self.run_pool()
            assert before != (self.stream.delivered, sum(t.over for t in self.trainers.values()))
        while self.trainers:
            self.leave(0, True)
        while self.pinned:
            self.unpin(0)
        self.run_pool()
        for position, entry in self.stream.window.entries.items():
            assert entry.wanted
            assert self.stream.gap(self.stream.idle.cursor, position) >= 0
        most = self.queue + self.together - 1  # a run is kept whole
        assert len(self.stream.window.entries) <= most + (0 if self.indexed else self.most_held)


class RunHistories(Histories):
    """The same where makes are so short that batches are made, told and given in runs."""

    scale = 8
    together = 4


class StreamedHistories(Histories):
    """The same around a source that only goes forward."""

    indexed = False


TestIndexedHistories = Histories.TestCase
TestIndexedHistories.settings = PROFILE
TestRunHistories = RunHistories.TestCase
TestRunHistories.settings = PROFILE
TestStreamedHistories = StreamedHistories.TestCase
TestStreamedHistories.settings = PROFILE


def test_what_went_by_is_not_kept_for_those_who_jump_over_it() -> None:
    """A group that is told of many positions at once leaves nothing of them behind that it seemed to want."""
    world = StreamedHistories()
    world.begin(queue=5, lengths=[5], last=None, reorder=0, retries=0, skip=False, size=2)
    world.order(most=1)
    world.join(credit=1, generation=0, group=None, returning=False, start="first")
    world.join(credit=2, generation=0, group=None, returning=False, start="first")
    world.join_rank(credit=0, origin=False, other_size=False, rank=0, start=(0, 1), tail="drop")
    world.rest()
    world.join(credit=0, generation=0, group=None, returning=False, start=(1, 0))
    world.check()
    world.teardown()


def test_a_rank_that_takes_nothing_stops_nobody_outside_its_group() -> None:
    """Also where one batch fills the queue: the other rank is given its own, and then both have stopped."""
    world = RunHistories()
    world.begin(queue=1, lengths=[2], last=None, reorder=0, retries=0, skip=False, size=2)
    world.resize(limit=0)
    world.join(credit=2, generation=0, group=None, returning=False, start="first")
    world.join_rank(credit=0, origin=False, other_size=False, rank=0, start="first", tail="pad")
    world.join_rank(credit=1, origin=False, other_size=False, rank=1, start="first", tail="pad")
    world.rest()
    world.teardown()


def test_what_is_left_of_a_run_is_wanted_only_if_somebody_wants_it() -> None:
    """Its end came first, and lies beyond a queue that has become short meanwhile."""
    world = RunHistories()
    world.begin(queue=2, lengths=[2], last=None, reorder=0, retries=0, skip=False, size=1)
    world.order(most=1)
    world.wait(seconds=1.0)
    world.open(fails=False, pick=0)
    world.order(most=1)
    for _ in range(11):
        world.evict(most=1)
    world.resize(limit=0)
    world.finish(how="made", pick=1)
    world.check()
    world.teardown()
