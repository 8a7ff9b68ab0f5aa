"""A named group over crashes of its daemon: nothing is lost, and what comes twice is what may, and is marked."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field

import msgpack
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from enqueued.batch import Position
from enqueued.stream.core import Stream
from enqueued.stream.decisions import Deliver, EndEpoch
from enqueued.stream.record import Record, record, restore, settle
from enqueued.stream.roster import GRACE_S, NotYet
from stream_orders import ordered

ATTACK = int(os.environ.get("HISTORIES", "0"))
NUMBERS = st.integers(0, 999)


@dataclass(eq=False)
class Trainer:
    """A client: what it has been given, what it works on, and what it would tell a daemon that has forgotten."""

    name: str
    credit: int
    generation: int = 0
    epoch: int = 0
    leases: deque[tuple[int, Position, bool]] = field(default_factory=deque)
    """Prefetched, in order: lease, position, whether it is marked."""
    held: tuple[int, Position, bool] | None = None
    unstable: list[Position] = field(default_factory=list)
    told: int = 0
    """How many it has acknowledged in this session."""


@dataclass
class Written:
    """A record that may be on disk, and which acknowledgements it knows of."""

    record: Record
    known: set[Position]


class Restarts(RuleBasedStateMachine):
    """Members come, go, and come back after crashes; an account is kept of every acknowledgement."""

    @initialize(
        queue=st.integers(1, 6),
        lengths=st.lists(st.integers(1, 6), min_size=1, max_size=3),
        reorder=st.sampled_from([0, 0, 2]),
        least=st.integers(1, 9),
        members=st.integers(0, 3),
    )
    def begin(self, queue: int, lengths: list[int], reorder: int, least: int, members: int) -> None:
        self.least = least
        self.queue, self.sizes, self.reorder = queue, lengths, reorder
        self.now = 0.0
        self.names = 0
        self.trainers: list[Trainer] = []
        self.lost: list[Trainer] = []
        self.disk: Written | None = None
        self.pending: Written | None = None
        self.account: list[tuple[Trainer, Position]] = []
        self.unknown: set[Position] = set()
        """Acknowledgements that nobody has told this daemon of."""
        self.unmarked: set[Position] = set()
        """Positions of which a delivery that was not marked is acknowledged."""
        self.twice: set[Position] = set()
        """Positions that may be delivered again, because nobody has told that they were."""
        self.silent: set[Position] = set()
        """Of these, the ones that nothing could be known of."""
        self.stream = self._daemon()
        for _ in range(members):
            self.join(2, "live")
        if members:
            self.write()
            self.written()

    def _daemon(self) -> Stream:
        stream = Stream("train", indexed=True, max_queue_size=self.queue, reorder_window=self.reorder, now=self.now)
        self.given: set[Position] = set()
        return stream

    def length(self, epoch: int) -> int:
        return self.sizes[epoch % len(self.sizes)]

    def _name(self) -> str:
        self.names += 1
        return f"m{self.names}"

    # -- members ------------------------------------------------------------------------------------------------

    @rule(credit=st.integers(1, 4), start=st.sampled_from(["stored", "stored", "live"]))
    def join(self, credit: int, start: str) -> None:
        """Somebody new comes; while members of before are expected back, only after one of these."""
        if len(self.trainers) + len(self.lost) >= 4:
            return
        known = self.stream.remembered.get("g")
        name = self._name()
        expected = known is not None and known.members > 0 and self.now < known.until
        try:
            group = self.stream.join(name, group="g", start="stored" if known else start)
        except NotYet:
            assert expected
            return
        assert not expected
        self.stream.allow(name, credit)
        self.trainers.append(Trainer(name, credit, group.generation, group.cursor[0]))

    @precondition(lambda self: self.trainers)
    @rule(pick=NUMBERS, count=st.integers(1, 5), more=st.booleans())
    def work(self, pick: int, count: int, more: bool) -> None:
        """A trainer is given some batches, and works on them one after the other."""
        for n in range(count):
            self.serve()
            self.take(pick, more or n < count - 1)

    def take(self, pick: int, more: bool) -> None:
        """A trainer acknowledges what it worked on, and goes on with the next if it wants more."""
        trainer = self.trainers[pick % len(self.trainers)]
        if trainer.held is not None:
            lease, position, marked = trainer.held
            trainer.held = None
            self._acknowledge(trainer, position, marked)
            self.stream.done(trainer.name, [(lease, 1)])
            self.stream.release(trainer.name, [(lease, 1)])
        if more and trainer.leases:
            trainer.held = trainer.leases.popleft()
            trainer.epoch = trainer.held[1][0]

    def _acknowledge(self, trainer: Trainer, position: Position, marked: bool) -> None:
        if any(position == before for _, before in self.account):
            assert position in self.twice
        if not marked:
            assert position not in self.unmarked or position in self.silent
            self.unmarked.add(position)
        self.account.append((trainer, position))
        trainer.unstable.append(position)
        trainer.told += 1

    @precondition(lambda self: self.trainers)
    @rule(pick=NUMBERS)
    def die(self, pick: int) -> None:
        trainer = self.trainers.pop(pick % len(self.trainers))
        self.stream.leave(trainer.name)

    # -- the daemon ---------------------------------------------------------------------------------------------

    @rule()
    def serve(self) -> None:
        """Make what is ordered, and deliver it."""
        while True:
            self._deliver()
            orders = ordered(self.stream, 9)
            for position in orders:
                assert position[1] < self.length(position[0])
                self.stream.made(position, position)
            opening = self.stream.openings()
            for epoch in opening:
                self.stream.epoch_length(epoch, self.length(epoch))
            self.stream.window.freed.clear()
            if not orders and not opening:
                return

    def _deliver(self) -> None:
        members = {trainer.name: trainer for trainer in self.trainers}
        for told in self.stream.decisions():
            trainer = members[told.member]
            if isinstance(told, Deliver):
                assert told.position == told.slot
                trainer.leases.append((told.lease, told.position, told.redelivered))
                assert len(self.stream.members[trainer.name].leases) <= trainer.credit
                self.given.add(told.position)
            elif isinstance(told, EndEpoch):
                assert not trainer.leases
                trainer.epoch = told.epoch + 1

    @precondition(lambda self: self.pending is None)
    @rule()
    def write(self) -> None:
        """A record is taken, and may be on disk from now on."""
        self.pending = Written(
            record(self.stream, least=self.least), {position for _, position in self.account} - self.unknown
        )

    @precondition(lambda self: self.pending is not None)
    @rule()
    def written(self) -> None:
        """The record is known to be on disk: members are told what is stable."""
        assert self.pending is not None
        self.disk, self.pending = self.pending, None
        settle(self.stream, self.disk.record)
        for trainer in self.trainers:
            stable = self.disk.record.acked.get(trainer.name, 0)
            while stable and trainer.unstable and trainer.told - len(trainer.unstable) < stable:
                trainer.unstable.pop(0)

    @rule(lucky=st.booleans())
    def crash(self, lucky: bool) -> None:
        """The daemon is killed; with luck what was being written is on disk."""
        if lucky and self.pending is not None:
            self.disk = self.pending
        self.pending = None
        self.lost += self.trainers
        self.trainers = []
        self.recorded = self.disk is not None and "g" in self.disk.record.plain
        known = self.disk.known if self.disk is not None and self.recorded else set()
        self.unknown = {position for _, position in self.account} - known
        fresh = set(self.unknown)
        for trainer in self.lost:
            trainer.leases.clear()
            if trainer.held is not None:
                fresh.add(trainer.held[1])
        self.twice |= fresh
        if not self.recorded:
            self.silent |= fresh
        self.stream = self._daemon()
        if self.disk is not None:
            restore(self.stream, msgpack.unpackb(msgpack.packb(self.disk.record.plain)))

    @precondition(lambda self: self.lost)
    @rule(pick=NUMBERS)
    def come_back(self, pick: int) -> None:
        """A member finds the new daemon and says what it has had."""
        trainer = self.lost.pop(pick % len(self.lost))
        held = (trainer.held[1],) if trainer.held is not None else ()
        trainer.name, trainer.told = self._name(), 0
        group = self.stream.join(
            trainer.name,
            group="g",
            start=(trainer.epoch, 0),
            returning=True,
            generation=trainer.generation,
            held=held,
            acked=tuple(trainer.unstable),
        )
        assert self.stream.members[trainer.name].next_lease == len(held)
        if trainer.held is not None:
            trainer.held = (0, *trainer.held[1:])
        self.stream.allow(trainer.name, trainer.credit)
        trainer.generation = group.generation
        told = {*trainer.unstable, *held}
        if self.recorded:  # from now on it is known, unless somebody else has got it meanwhile, or had it before
            others = {one.held[1] for one in (*self.trainers, *self.lost) if one.held is not None}
            others |= {position for one, position in self.account if one is not trainer}
            self.twice -= told - self.given - others
            self.unknown -= told
        self.trainers.append(trainer)

    @precondition(lambda self: self.lost)
    @rule(pick=NUMBERS)
    def vanish(self, pick: int) -> None:
        """A member never comes back."""
        self.lost.pop(pick % len(self.lost))

    @rule(seconds=st.sampled_from([0.5, 2.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.stream.tick(self.now)

    # -- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def check(self) -> None:
        """What a group has behind it is acknowledged, in somebody's hands, or to be delivered again."""
        group = self.stream.groups.get("g")
        if group is None:
            return
        done = {position for _, position in self.account}
        hands = {one[1] for t in self.trainers for one in (*t.leases, *([t.held] if t.held else []))}
        behind = {(e, n) for e in range(group.cursor[0]) for n in range(self.length(e))}
        behind |= {(group.cursor[0], n) for n in range(min(group.cursor[1], self.length(group.cursor[0])))}
        assert behind | group.taken <= done | hands | set(group.redeliver)
        assert group.redeliver == sorted(set(group.redeliver))
        assert all(position > group.cursor for position in group.taken)

    def teardown(self) -> None:
        """Whoever is lost comes back or not; those who are there take everything that is left of three epochs."""
        if not hasattr(self, "stream"):
            return
        while len(self.lost) > 1:
            self.come_back(0)
        self.lost.clear()
        self.wait(3 * GRACE_S)
        if not self.trainers:
            self.join(2, "stored")
        self.check()
        group = self.stream.groups["g"]
        goal = group.cursor[0] + 2
        while group.cursor[0] < goal:
            before = len(self.account), group.cursor
            if self.pending is not None:
                self.written()
            self.write()
            self.written()
            self.serve()
            for n in range(len(self.trainers)):
                for _ in range(9):
                    self.take(n, True)
                self.take(n, False)
            self.serve()
            self.check()
            assert before != (len(self.account), group.cursor)


TestRestarts = Restarts.TestCase
TestRestarts.settings = settings(
    max_examples=ATTACK or 250,
    stateful_step_count=50,
    deadline=None,
    derandomize=not ATTACK,
    database=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
)
