"""Proves from ledgers alone that each position was delivered as often as promised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from enqueued.ledger.lines import Kind, Session
from enqueued.ledger.positions import Checksums, Found, Indices, Range
from enqueued.ledger.reader import Reader
from enqueued.ledger.report import Finding, GroupReport, Report
from enqueued.ledger.run import Lane, Run
from enqueued.ledger.settlement import KINDS, LOST, MARKED, OPEN, REPEATED, WRONG, Settlement, still_open


def verify(ledgers: Iterable[str | Path], *, complete: bool = False) -> Report:
    """Read ledgers and say whether each position was delivered as often as promised.

    With `complete` nobody works any more: what is open then is lost. Raises `ProtocolError` for a file that is no
    ledger or is damaged, `ConfigError` for one that cannot be read.
    """
    books = Books()
    reader = Reader(books)
    for path in ledgers:
        reader.read(Path(path))
    return books.report(complete, tuple(reader.cuts), reader.lines)


@dataclass
class Group:
    """The account of one group over all its lives; a private group is what one client took."""

    label: str
    stream: str
    kind: Kind
    name: str | None
    members: set[int] = field(default_factory=set)
    worlds: set[int] = field(default_factory=set)
    runs: dict[tuple[Any, ...], Run] = field(default_factory=dict)
    epochs: set[int] = field(default_factory=set)
    found: dict[str, Found] = field(default_factory=dict)
    differing: dict[int, Indices] = field(default_factory=dict)
    positions: int = 0
    acknowledged: int = 0
    repeated: int = 0
    pads: int = 0
    skipped: int = 0
    gaps: int = 0

    def settle(self, run: Run) -> list[Range]:
        """Enter what one life comes to; what of it is open."""
        settlement = Settlement(run)
        for kind, found in settlement.found.items():
            self.found.setdefault(kind, Found()).merge(found)
        self.epochs.update(run.taken)
        self.positions += settlement.positions
        self.repeated += sum(taken.repeats for taken in run.taken.values())
        self.skipped += settlement.stood_in_for
        self.gaps += settlement.gaps
        return settlement.open

    def close(self, complete: bool) -> None:
        """Enter all lives that are not settled yet."""
        runs = [*self.runs.values()]
        for run in runs:
            others = [other for other in runs if other is not run]
            for opened in self.settle(run):
                for left in still_open(opened, others):
                    self.found.setdefault(LOST if complete else OPEN, Found()).add(left)
        self.runs.clear()

    def count(self, kind: str) -> int:
        """How many positions were found to be of a kind."""
        return self.found[kind].count if kind in self.found else 0

    def report(self) -> GroupReport:
        """The account as it is told."""
        lost, opened = self.count(LOST), self.count(OPEN)
        others = sum(self.count(kind) for kind in KINDS if kind not in (LOST, REPEATED))
        return GroupReport(
            label=self.label,
            stream=self.stream,
            kind=self.kind,
            group=self.name,
            members=len(self.members),
            epochs=len(self.epochs),
            positions=self.positions + lost + opened,
            acknowledged=self.acknowledged,
            repeated=self.repeated,
            lost=lost,
            wrong=others + sum(map(len, self.differing.values())),
            open=opened,
            pads=self.pads,
            skipped=self.skipped,
            gaps=self.gaps,
        )


class Taking:
    """The account of one session: it enters each line into the life of the group."""

    def __init__(self, books: Books, session: Session, group: Group, run: Run, witness: int) -> None:
        self.session = session
        self.group = group
        self.run = run
        self.lane: Lane = run.begin(session)
        self.witness = witness
        self.over = False
        """The pass over a fixed epoch has ended; the next batch begins another one."""
        self._books = books
        self._sums = books.sums.setdefault(session.stream, Checksums()) if session.indexed else None
        self._epoch = self._highest = -1

    def acknowledged(
        self, epoch: int, index: int, *, redelivered: bool, padded: bool, skipped: bool, checksum: int | None
    ) -> None:
        """Enter a batch."""
        group = self.group
        group.acknowledged += 1
        if self.over:
            self._pass()
        if checksum is not None and self._sums is not None:
            before = self._sums.compare(epoch, index, checksum, self.witness)
            if before is not None:
                self._books.differ(self, epoch, index, checksum, before)
        group.skipped += skipped
        if padded:
            group.pads += 1
            self.run.take_pad(self.lane, epoch, index, redelivered=redelivered)
            return
        new = self.run.take(self.lane, self.session.rank, epoch, index, redelivered=redelivered)
        if redelivered or not new:
            return
        if epoch > self._epoch:
            self._epoch, self._highest = epoch, index
        elif epoch < self._epoch or index < self._highest - self.session.reorder_window:
            self.run.disordered.setdefault(epoch, Indices()).add(index)
        elif index > self._highest:
            self._highest = index

    def ended(self, epoch: int, length: int) -> None:
        """Enter the end of an epoch."""
        self.run.end(self.lane, epoch, length)
        self.over = self.session.fixed_epoch is not None

    @property
    def life(self) -> tuple[Any, ...]:
        """What a session of ranks must have in common with this one to go on in its life."""
        return self.session.run, self.session.world_size, self.session.tail

    def rewinds(self, start: Session) -> bool:
        """Whether the same client begins anew at something that it had already."""
        return start.start <= (self.lane.latest, self.lane.highest.get(self.lane.latest, -1))

    def leave(self, start: Session) -> None:
        """The same client begins anew, elsewhere or in another epoch."""
        at = max(self.lane.latest, self.session.start[0])
        if self.run.kind == "ranks" and start.start[0] != at:
            self.lane.left.add(at)

    def _pass(self) -> None:
        self.over = False
        self.group.settle(self.run)
        epoch = self.session.start[0]
        again = replace(self.session, start=(epoch, 0), taken=())
        self.run = self.group.runs[()] = Run(again)
        self.lane = self.run.begin(again)
        self._epoch = self._highest = -1


class Books:
    """All accounts: of groups, of streams, of clients."""

    def __init__(self) -> None:
        self.sums: dict[str, Checksums] = {}
        self._groups: dict[tuple[str, str, str | None], Group] = {}
        self._clients: dict[str, int] = {}
        self._names: list[tuple[str, Group]] = []
        self._latest: dict[str, Taking] = {}
        self._wrong: dict[tuple[int, int, int], tuple[Indices, str]] = {}

    def begin(self, session: Session, writer: str) -> Taking:
        """Open the account of a session."""
        private = session.kind == "private"
        key = session.stream, session.kind, writer if private else session.group
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group("", session.stream, session.kind, session.group)
        witness = self._clients.get(writer, 0)
        if not witness:
            self._names.append((session.member, group))
            witness = self._clients[writer] = len(self._names)
        group.members.add(witness)
        if session.kind == "ranks":
            group.worlds.add(session.world_size)
        group.label = _label(group, session.member)
        before = self._latest.get(writer)
        if before is not None and before.group is not group:
            before = None
        if before is not None and not session.continued:
            before.leave(session)
            if private or before.rewinds(session):
                before = None
        if not private:
            run = self._life(group, session, before)
        elif before is not None and not before.over:
            run = before.run
        else:
            # the lives of a client follow each other in one file: this one ends the life before it
            if group.runs:
                group.settle(group.runs.popitem()[1])
            run = group.runs[()] = Run(session)
        taking = self._latest[writer] = Taking(self, session, group, run, witness)
        return taking

    @staticmethod
    def _life(group: Group, session: Session, before: Taking | None) -> Run:
        """The life of a group that a session belongs to."""
        life: tuple[Any, ...] = (session.run,)
        if session.kind == "ranks":
            life += session.world_size, session.tail
            if before is not None and before.life == life:
                return before.run
            if not session.run and session.base[1]:
                life += session.base  # it tells apart what was resumed in mid-epoch
        return group.runs.get(life) or group.runs.setdefault(life, Run(session))

    def differ(self, taking: Taking, epoch: int, index: int, checksum: int, before: tuple[int, int]) -> None:
        """Two clients, or one of them twice, saw different data at one position."""
        other_sum, other = before
        key = other, taking.witness, epoch
        found = self._wrong.get(key)
        if found is None:
            (name, group), (other_name, other_group) = self._names[taking.witness - 1], self._names[other - 1]
            detail = (
                f"{other_name} of {other_group.label} saw {other_sum:016x} at {epoch}:{index},"
                f" {name} of {group.label} {checksum:016x}"
            )
            found = self._wrong[key] = Indices(), detail
        found[0].add(index)
        for group in (taking.group, self._names[other - 1][1]):
            group.differing.setdefault(epoch, Indices()).add(index)

    def report(self, complete: bool, cuts: tuple[str, ...], lines: int) -> Report:
        """What all accounts come to."""
        groups = [*self._groups.values()]
        for group in groups:
            group.close(complete)
        counts = {kind: sum(group.count(kind) for group in groups) for kind in (*KINDS, MARKED, OPEN)}
        counts[WRONG] += sum(len(indices) for indices, _ in self._wrong.values())
        return Report(
            groups=tuple(group.report() for group in groups),
            violations=(*_findings(groups, KINDS), *self._wrong_findings()),
            allowed=tuple(_findings(groups, (MARKED, OPEN))),
            counts={kind: count for kind, count in counts.items() if count},
            cuts=cuts,
            lines=lines,
        )

    def _wrong_findings(self) -> Iterator[Finding]:
        for (_, witness, epoch), (indices, detail) in self._wrong.items():
            for one in islice(indices.ranges(epoch), 1000):
                yield Finding(WRONG, self._names[witness - 1][1].label, one, detail)


def _findings(groups: list[Group], kinds: Iterable[str]) -> Iterator[Finding]:
    for kind in kinds:
        for group in groups:
            if kind in group.found:
                for one in group.found[kind].ranges:
                    yield Finding(kind, group.label, one)


def _label(group: Group, member: str) -> str:
    if group.kind == "private":
        return f"{group.stream} (private) {member}"
    if group.kind == "ranks":
        worlds = " and ".join(map(str, sorted(group.worlds)))
        return f"{group.stream}/{group.name or ''} ({worlds} ranks)"
    return f"{group.stream}/{group.name}"
