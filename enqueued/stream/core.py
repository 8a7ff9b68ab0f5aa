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
from enqueued.stream.decisions import Decision, Deliver, EndEpoch, Over
from enqueued.stream.group import Group, Lease, Member, Team
from enqueued.stream.roster import Roster
from enqueued.stream.window import FAILED, GONE, ORDERED, READY, WAITING, Entry

DEATHS = 3
"""A position that has killed this many workers is given up."""


class Stream(Roster):
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
        self.delivered = self.made_count = self.failed_count = self.skipped_count = 0
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
        self._finish(name, runs, done=True)

    def release(self, name: str, runs: Iterable[tuple[int, int]]) -> None:
        """A member, or the socket that read for it, gives the memory of leases back."""
        self._finish(name, runs, done=False)

    def _finish(self, name: str, runs: Iterable[tuple[int, int]], *, done: bool) -> None:
        member = self.members.get(name)
        leases = member.leases if member is not None else {}
        for first, count in runs:
            numbers: Iterable[int] = range(first, first + count)
            if count > len(leases) + len(self._orphans):
                self.ignored += 1
                numbers = [n for n in leases if first <= n < first + count]
            for number in numbers:
                lease = leases.get(number)
                if lease is not None and member is not None:
                    if not done:
                        lease.released = True
                    elif not lease.done:
                        lease.done = True
                        member.acked += 1
                    self._retire(member, lease)
                elif not done and (name, number) in self._orphans:
                    self._unuse(self._orphans.pop((name, number)))
                else:
                    self.ignored += 1
        if member is not None:
            self._may_take(member.group)

    # -- what the pool says -------------------------------------------------------------------------------------

    def made(self, position: Position, slot: Any) -> None:
        """The batch of an ordered position lies in `slot`."""
        entry = self.window.entries.get(position)
        self.made_count += 1
        if entry is None or entry.state != ORDERED:
            self.window.freed.append(slot)
            return
        entry.slot = slot
        entry.state = READY
        self._came(entry)

    def failed(self, position: Position, error: Any) -> None:
        """An ordered position could not be made: it is tried again, or its groups are given the error in its place."""
        entry = self.window.entries.get(position)
        self.failed_count += 1
        if entry is not None and entry.state == ORDERED:
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
        position = entry.position
        if not self.indexed:
            self.reached = max(self.reached, (position[0], position[1] + 1))
        if not entry.wanted:
            self.window.settle(entry)
        near = self.reorder_window
        for group in self.holders:
            at = group.cursor
            if (
                at == position
                or (group.redeliver and position in group.redeliver)
                or (near and at[0] == position[0] and 0 < position[1] - at[1] <= near)
                or (group.team is not None and (not self.indexed or position in self.extras(group)))
            ):
                self._dirty[group] = None

    def lost(self, position: Position, error: Any, *, killed: bool = True) -> None:
        """The worker that had a position is gone: order it again, or fail with `error` when it `killed` too many."""
        entry = self.window.entries.get(position)
        if entry is None or entry.state != ORDERED:
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
        for position, entry in list(self.window.entries.items()):
            if position[0] > kept:
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
        if len(self.groups) > 1 and self.waited_for() != self.holders:
            self.rehold()

    # -- deliveries ---------------------------------------------------------------------------------------------

    def decisions(self) -> list[Decision]:
        """What has to be told to members, in order; each is told once."""
        while self._dirty:
            self._pump(self._dirty.popitem()[0])
        outbox, self._outbox = self._outbox, []
        return outbox

    def _pump(self, group: Group) -> None:
        while group.members and not self._held_back(group):
            if group.team is not None and group.cursor[1] == group.rank and self.end_of(group, group.cursor[0]) == 0:
                if not self._complain(group, group.team):
                    return
                continue
            again = self._next_again(group) if group.redeliver else None
            at = group.cursor if again is None else again
            if again is None and self._at_end(group):
                if group.cursor == at:
                    return
                continue
            if group.team is not None and self.apart(group, at):
                group.team.waiting[group] = None
                return
            position = self.real(group, at)
            entry = self.window.entries.get(position)
            if (entry is None or entry.state < READY) and not self.gone(position):
                entry = self._overtaking(group) if self.reorder_window and again is None else None
                if entry is None:
                    return
                at = entry.position
            member = group.hungry_member()
            if member is None:
                return
            if entry is None:
                entry = self._miss(position, (position[0], position[1] + 1) if again else self.next_kept(position))
            if again is not None:
                group.redeliver.remove(again)
                heapq.heapify(group.redeliver)
            elif at == group.cursor:
                group.cursor = self._after(group, entry)
                group.step()
            else:
                group.taken.add(at)
                self._picky = True
            self._deliver(group, member, entry, at, again is not None)

    def _complain(self, group: Group, team: Team) -> bool:
        """Tell a rank that a whole epoch has no step for it; whether that could be told."""
        member = group.hungry_member()
        if member is None or self.apart(group, group.cursor):
            team.waiting[group] = None
            return False
        at = group.cursor
        entry = Entry(at)
        entry.state, entry.wanted = FAILED, False
        entry.error = {
            "message": f"epoch {at[0]} has {self.lengths[at[0]]} batches, fewer than the {team.world_size} ranks, so "
            'that nothing is left with tail="drop"; use tail="pad"'
        }
        group.cursor = (at[0], at[1] + group.stride)
        self._deliver(group, member, entry, at, again=False)
        return True

    def _held_back(self, group: Group) -> bool:
        """Whether it waits for members of before, or for the state file."""
        return self.now < group.held_until or (group.most is not None and group.delivered >= group.most)

    def _after(self, group: Group, entry: Entry) -> Position:
        """The cursor after an entry that was delivered there: the next one of its own."""
        epoch, index = group.cursor
        if group.team is None:
            return entry.follower
        steps = -(-(entry.follower[1] - index) // group.stride) if entry.state == GONE else 1
        return epoch, index + max(1, steps) * group.stride

    def _overtaking(self, group: Group) -> Entry | None:
        """A ready batch that may be given before the one at the cursor."""
        epoch, index = group.cursor
        if group.team is not None:
            return None  # the batches of one step belong together
        for ahead in range(index + 1, min(index + self.reorder_window, self.lengths.get(epoch, 0) - 1) + 1):
            entry = self.window.entries.get((epoch, ahead))
            if entry is not None and entry.state >= READY and (epoch, ahead) not in group.taken:
                return entry
        return None

    def _next_again(self, group: Group) -> Position | None:
        """A position to deliver again that is ready now, or gone; one that must be made first holds up nothing."""
        for position in group.redeliver:
            entry = self.window.entries.get(position)
            if self.gone(position) if entry is None else entry.state >= READY:
                return position
        return None

    def _miss(self, first: Position, stop: Position) -> Entry:
        """What a group of a streamed source gets for the positions that went by while it had stopped."""
        entry = self.window.add(first)
        entry.state, entry.follower = GONE, stop
        entry.error = {
            "message": f"positions {first[0]}:{first[1]} up to {stop[0]}:{stop[1]} went by while this group took "
            "nothing for the lag time; a streamed source cannot make them again (see --lag-timeout)"
        }
        return entry

    def _at_end(self, group: Group) -> bool:
        """Whether the cursor is at an epoch's end or the stream's; moves it on, and says so, when that is allowed."""
        epoch, index = group.cursor
        if index < self.end_of(group, epoch) and (self.end is None or group.cursor < self.end):
            return False
        if self.held_up(group) or group.redeliver:
            return True
        if self.end is not None and group.cursor >= self.end:
            for member in group.members.values():
                if not member.over:
                    member.over = True
                    self._outbox.append(Over(member.name, group.generation))
            return True
        group.cursor = group.first(epoch + 1)
        for member in group.members.values():
            self._outbox.append(EndEpoch(member.name, group.generation, epoch, self.lengths[epoch]))
        return True

    def _deliver(self, group: Group, member: Member, entry: Entry, at: Position, again: bool) -> None:
        lease = Lease(member.next_lease, entry, at)
        member.next_lease += 1
        member.leases[lease.number] = lease
        entry.uses += 1
        if entry.slot is None:
            lease.released = True
        redelivered = again or at < group.repeated_below or group.suspects > 0
        group.suspects -= group.suspects > 0 and not again
        member.delivered += 1
        group.delivered += 1
        self.delivered += 1
        group.redelivered += redelivered
        member.last_delivery_s = group.last_delivery_s = self.now
        if group.team is not None:
            group.team.last_delivery_s = self.now
        if entry.wanted and not self.wanted(entry.position):
            self.window.want(entry, False)
        what = (entry.position, entry.slot, entry.error, redelivered, at != entry.position)
        self._outbox.append(Deliver(member.name, lease.number, group.generation, *what))
        if group.team is not None and group.team.waiting:
            self._dirty.update(group.team.waiting)
            group.team.waiting.clear()

    # -- for the stats ------------------------------------------------------------------------------------------

    def waits_for(self, group: Group) -> str:
        """Who holds a group up, in words; empty when that is nobody, or the workers."""
        if self.now < group.held_until:
            return f"members of before: {group.back} of {group.expected} have come back"
        if group.team is not None and group.team.absent:
            return _ranks(group.team.absent)
        if self.held_up(group):
            held = {name: len(member.unacknowledged()) for name, member in group.members.items()}
            return ", ".join(f"{name} to acknowledge {count}" for name, count in held.items() if count)
        if not group.hungry() or self.real(group, group.cursor) in self.window.entries:
            return ""
        behind = [g for g in self.holders if g is not group and g.cursor < group.cursor and not g.hungry()]
        rear = min(behind, key=lambda g: g.cursor, default=None)
        return "" if rear is None else f"{rear.name} at {rear.cursor[0]}:{rear.cursor[1]}"

    @property
    def starving(self) -> bool:
        """Whether some member could take a batch and none is ready for it."""
        return any(g.hungry for group in self.groups.values() for g in group.members.values()) and not self._dirty

    @property
    def full(self) -> bool:
        """Whether as much is made ahead as may be."""
        return self.window.queued >= self.limit


def _ranks(absent: list[int]) -> str:
    """Which ranks are not there, however many they are."""
    few = ", ".join(map(str, absent[:8])) + ", ..." * (len(absent) > 8)
    return f"rank {few}, which is not there" if len(absent) == 1 else f"ranks {few}, which are not there"
