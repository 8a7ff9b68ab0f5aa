"""A world around one stream: a pool, trainers and a clock, driven as the daemon drives them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from enqueued.batch import Position
from enqueued.errors import Refused
from enqueued.stream.group import Group
from enqueued.stream.roster import GRACE_S
from stream_account import Account, Crowd, Held, Memory, Strip, Trainer
from stream_orders import ordered

NUMBERS = st.integers(0, 999)


class World(Account):
    """Its rules are what may happen; what must hold after each is for the test to say."""

    # -- the pool -----------------------------------------------------------------------------------------------

    @rule(most=st.integers(1, 6))
    def order(self, most: int) -> None:
        """The pool takes orders: each position once, and only such as can be made."""
        before = self.stream.head
        most *= self.scale
        orders = ordered(self.stream, most, self.together)
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
            self.failures[position] += 1
            self.unmade.add(position)
            self.stream.failed(position, ("failed", position))
            if how == "broke":
                self._over((position[0], position[1] + 1))
        else:
            self.unmade.add(position)
            self.stream.lost(position, ("failed", position), killed=how == "killed")

    def _make(self, position: Position) -> None:
        """The batch of a position lies in a slot; and so do those that follow it, if the worker has made a run."""
        epoch, index = position
        count = 1
        while count < self.together and (epoch, index + count) in self.hands:
            self.hands.remove((epoch, index + count))
            count += 1
        slot = Strip(self.slots + 1, count)
        for n, number in enumerate(slot.numbers):
            self.live[number] = (epoch, index + n)
        self.slots += count
        self.stream.made(position, slot, count)

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
        assert self.stream.window.queued == before - sum(entry.count for entry in spare)

    # -- the trainers -------------------------------------------------------------------------------------------

    @rule(
        group=st.sampled_from([None, "red", "blue"]),
        start=st.sampled_from(["first", "live", "stored", (0, 2), (1, 0), (3, 1)]),
        returning=st.booleans(),
        generation=st.integers(0, 2),
        credit=st.integers(0, 4),
    )
    def join(self, group: str | None, start: str | Position, returning: bool, generation: int, credit: int) -> None:
        if len(self.trainers) >= 5:
            return
        name = self._name()
        returning = returning and group is not None
        claim: dict[str, Any] = {"returning": True, "generation": generation} if returning else {}
        try:
            found = self.stream.join(name, group=group, start=start, **claim)
        except Refused:
            assert not self.indexed
            assert start != "live" or group in self.memory
            assert name not in self.stream.members
            return
        if found.name not in self.crowds:
            self.crowds[found.name] = self._crowd(found, group, start, generation if returning else None)
        elif returning and isinstance(start, tuple) and start[0] > found.cursor[0]:
            crowd = self.crowds[found.name]
            if generation >= crowd.generation:  # began anew, by one who did not know how far it was
                crowd.marked_below = max(crowd.marked_below, (start[0] + 1, 0))
        self.trainers[name] = Trainer(found.name, credit)
        self.look()
        self.stream.allow(name, credit)

    def look(self) -> None:
        """See which groups are not waited for."""
        for name, crowd in self.crowds.items():
            crowd.lagged |= self.stream.groups[name] not in self.stream.holders

    def _name(self) -> str:
        self.names += 1
        return f"t{self.names}"

    def _crowd(self, found: Group, group: str | None, start: str | Position, generation: int | None) -> Crowd:
        """A group that has got its first member; one that comes back tells the `generation`."""
        memory = self.memory.pop(group, None) if group is not None else None
        stale = memory is not None and generation is not None and generation > memory.generation
        if memory is not None and not (memory.ranks or stale) and (generation is not None or start == "stored"):
            assert found.cursor == memory.position
            crowd = Crowd(False, memory.position, generation=memory.generation, owed=memory.missing)
            crowd.taken, crowd.lagged = memory.taken, True
            return crowd
        if start == "stored":
            start = memory.position if memory is not None else "first"
        if start != "live":
            assert found.cursor == ((0, 0) if start == "first" else start)
        crowd = Crowd(group is None, found.cursor)
        if generation is not None:
            crowd.generation = generation
            crowd.held_until = self.now + GRACE_S  # others that nothing is known of may come back too
            crowd.marked_below = (found.cursor[0] + 1, 0)
        elif memory is not None:
            crowd.generation = memory.generation + 1
        return crowd

    @rule(
        rank=st.integers(0, 2),
        start=st.sampled_from(["first", "first", "live", "stored", (0, 1), (1, 0)]),
        origin=st.booleans(),
        tail=st.sampled_from(["drop", "pad"]),
        other_size=st.sampled_from([False, False, False, True]),
        credit=st.integers(0, 4),
    )
    def join_rank(
        self, rank: int, start: str | Position, origin: bool, tail: str, other_size: bool, credit: int
    ) -> None:
        """A rank joins, or comes back; `start` is where the steps begin."""
        size = self.size + other_size
        rank %= size
        if len(self.trainers) >= 6:
            return
        name = self._name()
        base = start if isinstance(start, tuple) else None
        own = (base[0], base[1] + rank) if base is not None else start
        claim: dict[str, Any] = {"start": own, "base": base, "origin": base if origin else None}
        known = {crowd.rank: crowd for crowd in self.crowds.values() if crowd.team == "crew"}
        try:
            lane = self.stream.join(name, group="crew", rank=rank, world_size=size, tail=tail, **claim)
        except Refused:
            assert known or not self.indexed or any(self.length(epoch) < size for epoch in self.opened)
            if known and self.indexed:
                same = not any(t.group == f"crew/{rank}" for t in self.trainers.values())
                some = next(iter(known.values()))
                team = self.stream.teams["crew"]
                assert not same or some.stride != size or some.tail != tail or team.origin != claim["origin"]
            assert name not in self.stream.members
            return
        if not known:
            assert base is None or lane.base == base
            for other in self.stream.teams["crew"].lanes.values():
                assert other.cursor == (lane.base[0], lane.base[1] + other.rank)
                crowd = Crowd(True, other.cursor, team="crew", rank=other.rank, stride=size, tail=tail)
                crowd.base = lane.base
                self.crowds[other.name] = crowd
        elif base is not None and own != known[rank].expected:
            known[rank].expected, known[rank].base = (base[0], base[1] + rank), base
        self.trainers[name] = Trainer(lane.name, credit)
        self.look()
        self.stream.allow(name, credit)

    @rule(group=st.sampled_from(["red", "blue", "crew"]), epoch=st.integers(0, 2), index=st.integers(0, 5))
    def reset(self, group: str, epoch: int, index: int) -> None:
        """Somebody says where a named group goes on; its members leave, and may come back."""
        team = any(crowd.team == group for crowd in self.crowds.values())
        try:
            members = self.stream.reset(group, (epoch, index))
        except Refused:
            beyond = epoch in self.opened and index >= self.length(epoch)
            assert team or beyond or not self.indexed or (group not in self.crowds and group not in self.memory)
            return
        assert members == [name for name, t in self.trainers.items() if t.group == group]
        before = self.memory.get(group)
        generation = self.crowds[group].generation if group in self.crowds else before.generation if before else 0
        target = Memory((epoch, index), generation=generation + 1, ranks=before.ranks if before else False)
        for name in members:
            self.leave(list(self.trainers).index(name), True)
        self.memory[group] = target
        self.now += 11
        self.stream.tick(self.now)

    @precondition(lambda self: self.indexed)
    @rule(after=st.sampled_from([None, 0, 1]))
    def refresh(self, after: int | None) -> None:
        """The source was loaded anew; what workers of the old one still answer is not told."""
        kept = -1 if after is None else after
        self.stream.refresh(after)
        self.hands = [p for p in self.hands if p[0] <= kept]
        self.opening = [epoch for epoch in self.opening if epoch <= kept]
        self.opened = {epoch for epoch in self.opened if epoch <= kept}
        for trainer in self.trainers.values():
            for held in trainer.leases.values():
                if held.real[0] > kept:
                    held.real = (-1, 0)
        self.old_slots |= {slot for slot, position in self.live.items() if position[0] > kept}

    @rule(group=st.sampled_from(["red", "blue", "crew"]))
    def forget(self, group: str) -> None:
        live = any(t.group.partition("/")[0] == group for t in self.trainers.values())
        try:
            self.stream.forget(group)
        except Refused:
            assert live or group not in self.memory
            return
        assert not live
        del self.memory[group]

    def some(self, pick: int) -> tuple[str, Trainer]:
        return list(self.trainers.items())[pick % len(self.trainers)]

    @precondition(lambda self: self.trainers)
    @rule(pick=NUMBERS, credit=st.integers(0, 5))
    def allow(self, pick: int, credit: int) -> None:
        name, trainer = self.some(pick)
        trainer.credit = credit
        self.stream.allow(name, credit)

    @precondition(lambda self: self.trainers)
    @rule(
        pick=NUMBERS,
        first=NUMBERS,
        count=st.integers(1, 6),
        done=st.booleans(),
        release=st.booleans(),
        together=st.booleans(),
    )
    def hand_back(self, pick: int, first: int, count: int, done: bool, release: bool, together: bool = True) -> None:
        """A trainer gives back a run of leases, some of which it may have given back before or never had."""
        name, trainer = self.some(pick)
        first %= trainer.next_lease + 1
        if done and release and together:
            self.stream.finish(name, [(first, count)])
        else:
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
        self.stream.finish("stranger", [(pick, count)])
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
        undone = {held.position for held in trainer.leases.values() if not held.done}
        if crowd.team is None:
            crowd.owed |= undone
        else:
            crowd.marked_below = max(crowd.marked_below, crowd.expected)
            crowd.expected = min([crowd.expected, *undone])
        for number, held in trainer.leases.items():
            if number in pinned:
                self.pinned[name, number] = pinned[number] or 0
            else:
                self._release(held, True)
        crowd.ending[1].discard(name)
        if crowd.team is not None:
            lanes = {n: c for n, c in self.crowds.items() if c.team == crowd.team}
            if not any(t.group in lanes for t in self.trainers.values()):
                self.memory[crowd.team] = Memory(min(lane.place() for lane in lanes.values()), ranks=True)
                for lane in lanes:
                    del self.crowds[lane]
        elif not others:
            del self.crowds[trainer.group]
            if not crowd.private:
                self.memory[trainer.group] = Memory(crowd.expected, crowd.owed, crowd.taken, crowd.generation)
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
        crowd.base = (epoch, index)
        crowd.expected, trainer.over = (epoch, index + crowd.rank), False
        crowd.taken.clear()
        trainer.ended.clear()
        for held in trainer.leases.values():
            held.done = True
        trainer.leases = {n: h for n, h in trainer.leases.items() if not h.released}

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.stream.tick(self.now)
        self.look()
