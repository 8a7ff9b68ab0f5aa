"""One stream: who gets which batch, what is made next, and which slot is free.

Events come in as method calls (`join`, `allow`, `done`, `release`, `made`, `failed`, `lost`, `tick`), decisions are
taken out (`orders`, `decisions`, `freed`). No socket, thread, clock or file is known here, so every history can be
replayed.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Any

from enqueued.batch import Position
from enqueued.stream.delivery import Delivery
from enqueued.stream.group import Lease, Member
from enqueued.stream.places import FAR
from enqueued.stream.window import FAILED, ORDERED, READY, WAITING, Entry

DEATHS = 3
"""A position that has killed this many workers is given up."""
_MANY = 32
"""With so many groups it is not seen in every turn which of them have stopped..."""
_LOOK_S = 0.01
"""... but so often."""


class Stream(Delivery):
    """The state of one stream: its window, its groups and what it has still to tell them.

    `indexed` sources can be asked for any position again; a streamed one only goes forward. A ready batch may overtake
    `reorder_window` others. A position that fails is tried `retries` times more, and is then left out where `skip`
    says so. The stream ends after `epochs`. Times are seconds of one monotonic clock that the caller reads.
    """

    def __init__(
        self,
        name: str,
        *,
        indexed: bool,
        max_queue_size: int,
        lag_timeout_s: float = 10.0,
        reorder_window: int = 0,
        retries: int = 0,
        skip: bool = False,
        epochs: int | None = None,
        now: float = 0.0,
    ) -> None:
        super().__init__(name, indexed=indexed, max_queue_size=max_queue_size, lag_timeout_s=lag_timeout_s, now=now)
        self.reorder_window = reorder_window
        self.made_count = self.failed_count = self.skipped_count = 0
        self._look_at = 0.0
        """When it is seen next which groups have stopped."""
        self._retries = retries
        self._skip = skip
        if epochs is not None:
            self.end = (epochs, 0)
        self.rehold()

    def allow(self, name: str, credit: int) -> None:
        """Let a member hold up to `credit` leases from now on."""
        member = self.members.get(name)
        if member is None:
            self.ignored += 1
            return
        member.credit = credit
        self._may_take(member.group)

    # -- leases -------------------------------------------------------------------------------------------------

    def done(self, name: str, runs: Iterable[tuple[int, int]]) -> None:
        """A member acknowledges leases, given as runs `(first, count)`."""
        self._mark(name, runs, done=True, released=False)

    def release(self, name: str, runs: Iterable[tuple[int, int]]) -> None:
        """A member, or the socket that read for it, gives the memory of leases back."""
        self._mark(name, runs, done=False, released=True)

    def finish(self, name: str, runs: Iterable[tuple[int, int]]) -> None:
        """A member acknowledges leases and gives their memory back."""
        self._mark(name, runs, done=True, released=True)

    def _mark(self, name: str, runs: Iterable[tuple[int, int]], *, done: bool, released: bool) -> None:
        member = self.members.get(name)
        leases = member.leases if member is not None else {}
        for first, count in runs:
            number, stop = first, first + count
            if count > len(leases) + len(self._orphans):
                self.ignored += 1
                known = [n for n in leases if first <= n < stop]
                number, stop = (min(known), max(known) + 1) if known else (0, 0)
            while number < stop:
                lease = leases.get(number)
                if lease is not None and member is not None:
                    among = min(stop, lease.number + lease.count) - number
                    self._mark_some(member, lease, ((1 << among) - 1) << (number - lease.number), done, released)
                    number += among
                    continue
                if released and (name, number) in self._orphans:
                    self._unuse(self._orphans.pop((name, number)))
                else:
                    self.ignored += 1
                number += 1
        if member is not None:
            self._may_take(member.group)

    def _mark_some(self, member: Member, lease: Lease, which: int, done: bool, released: bool) -> None:
        """Those of a lease's numbers that have a bit in `which` are done, or released, or both."""
        before = lease.done & lease.released
        if which & before:
            self.ignored += (which & before).bit_count()
        if done:
            member.acked += (which & ~lease.done).bit_count()
            lease.done |= which
        if released:
            lease.released |= which
        over = lease.done & lease.released & ~before
        if over:
            self._retire(member, lease, over)

    # -- what the pool says -------------------------------------------------------------------------------------

    def made(self, position: Position, slot: Any, count: int = 1) -> None:
        """The batches of `count` ordered positions from one on lie in `slot`."""
        window, (epoch, first) = self.window, position
        self.made_count += count
        index, stop = first, first + count
        while index < stop:
            entry, among = window.entries.get((epoch, index)), 1
            if entry is not None:
                among = min(stop, entry.position[1] + entry.count) - index
            part = slot if among == count else slot.part(index - first, among)
            if entry is None or entry.state != ORDERED:
                window.freed.append(part)
            else:
                if among != entry.count:
                    self.carve(entry, index, among)
                entry.slot = part
                entry.state = READY
                self._came(entry)
            index += among

    def _find_ordered(self, position: Position) -> Entry | None:
        """The entry of just this position, if it is ordered."""
        entry = self.window.entries.get(position)
        if entry is None or entry.state != ORDERED:
            return None
        if entry.count > 1:
            self.carve(entry, position[1], 1)
        return entry

    def failed(self, position: Position, error: Any) -> None:
        """An ordered position could not be made: it is tried again, or its groups are given the error in its place."""
        entry = self._find_ordered(position)
        self.failed_count += 1
        if entry is not None:
            entry.failures += 1
            if entry.failures <= self._retries:
                self._again(entry)
            else:
                self._give_up(entry, error)

    def _again(self, entry: Entry) -> None:
        entry.state = WAITING
        if entry.wanted:
            heapq.heappush(self.again, entry.position)
        else:
            self.window.settle(entry)

    def _give_up(self, entry: Entry, error: Any) -> None:
        entry.error = error
        entry.state = FAILED
        epoch, index = entry.position
        if self._skip and epoch in self.lengths:
            self.skipped_count += 1
            self.skipped.setdefault(epoch, set()).add(index)
            if self._picky:  # ranks are given another batch in its place
                self.window.want(entry, self.wanted(entry.position))
                self._dirty.update(dict.fromkeys(self.groups.values()))
        self._came(entry)

    def _came(self, entry: Entry) -> None:
        first, follower = entry.position, entry.follower
        if not self.indexed:
            self.reached = max(self.reached, (first[0], first[1] + 1))
        if not entry.wanted:
            self.window.settle(entry)
        near = self.reorder_window
        for group in self._single:
            at = group.cursor
            if (
                first <= at < follower
                or (group.redeliver and group.owes(first, FAR, entry.count))
                or (near and at[0] == first[0] and 0 < first[1] - at[1] <= near)
            ):
                self._dirty[group] = None
        for team in self.teams.values() if self.teams else ():
            for position in entry.positions():
                for lane in team.takers(position):
                    if lane.cursor == position:
                        self._dirty[lane] = None
                if self.may_stand_in(team, *position):
                    self._dirty.update(dict.fromkeys(self.given_instead(team, position)))
            if not self.indexed and not self.apart(team, team.rear()):  # the step is whole
                self._dirty.update(team.waiting)

    def lost(self, position: Position, error: Any, *, killed: bool = True) -> None:
        """The worker that had a position is gone: order it again, or fail with `error` when it `killed` too many."""
        entry = self._find_ordered(position)
        if entry is None:
            return
        entry.deaths += killed
        if entry.deaths >= DEATHS:
            self.failed_count += 1
            self._give_up(entry, error)
        else:
            self._again(entry)

    def epoch_length(self, epoch: int, length: int) -> None:
        """An epoch has been opened, or a streamed one has ended: it has `length` batches."""
        self.learn_length(epoch, length)
        self._dirty.update(dict.fromkeys(self.groups.values()))

    def epoch_failed(self, epoch: int, error: Any) -> None:
        """An epoch could not be opened: whoever comes to it is told why; it is tried again after that."""
        self.asked.discard(epoch)
        for group in self.holders:
            if max(group.planned, group.cursor)[0] == epoch:
                position = group.cursor if group.cursor[0] == epoch else group.first(epoch)
                if position not in self.window.entries:
                    self.failed_count += 1
                    self._give_up(self.window.add(position), error)

    def over_from(self, position: Position) -> None:
        """Nothing comes at or after a position: a streamed source that is spent, or one that broke."""
        self.end = position
        self.head = min(self.head, position)
        self.cut(position)
        self._dirty.update(dict.fromkeys(self.groups.values()))

    def refresh(self, after: int | None) -> None:
        """The source was loaded anew: what nobody holds is made again, in all epochs or in those after `after`."""
        kept = -1 if after is None else after
        for entry in self.window.distinct():
            if entry.position[0] > kept:
                self.window.detach(entry)
        self.lengths = {epoch: length for epoch, length in self.lengths.items() if epoch <= kept}
        self.skipped = {epoch: indices for epoch, indices in self.skipped.items() if epoch <= kept}
        self.asked = {epoch for epoch in self.asked if epoch <= kept}
        self.rehold()

    def tick(self, now: float) -> None:
        """Time has passed: see which groups have stopped, and which have waited long enough for members of before."""
        self.now = now
        if self._restored:
            self._dirty.update(dict.fromkeys(self._restored))
            self._restored = [group for group in self._restored if now < group.held_until]
        if len(self.groups) > 1 and now >= self._look_at:
            self._look_at = now + _LOOK_S if len(self.groups) > _MANY else 0.0
            if self.waited_for() != self.holders:
                self.rehold()

    # -- for the stats ------------------------------------------------------------------------------------------

    @property
    def starving(self) -> bool:
        """Whether some member could take a batch and none is ready for it."""
        return any(g.hungry for group in self.groups.values() for g in group.members.values()) and not self._dirty

    @property
    def full(self) -> bool:
        """Whether as much is made ahead as may be, but for less than a stretch."""
        return self.window.queued >= max(1, self.limit + 1 - self.together)
