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
from enqueued.errors import Refused
from enqueued.stream.decisions import Decision, Deliver, EndEpoch, Over
from enqueued.stream.group import Group, Lease, Member
from enqueued.stream.plan import FAR, Plan
from enqueued.stream.window import FAILED, GONE, ORDERED, READY, WAITING, Entry

DEATHS = 3
"""A position that has killed this many workers is given up."""


class Stream(Plan):
    """The state of one stream: its window, its groups and what it has still to tell them.

    `indexed` sources can be asked for any position again; a streamed one only goes forward. Times are seconds of one
    monotonic clock that the caller reads.
    """

    def __init__(
        self, name: str, *, indexed: bool, max_queue_size: int, lag_timeout_s: float = 10.0, now: float = 0.0
    ) -> None:
        super().__init__(indexed=indexed, max_queue_size=max_queue_size, lag_timeout_s=lag_timeout_s, now=now)
        self.name = name
        self.members: dict[str, Member] = {}
        self.delivered = self.made_count = self.failed_count = self.ignored = 0
        self._orphans: dict[tuple[str, int], Entry] = {}
        self._dirty: dict[Group, None] = {}  # a dict, because a set of objects has another order in each process
        self._outbox: list[Decision] = []
        self.rehold()

    # -- members ------------------------------------------------------------------------------------------------

    def join(
        self, name: str, *, group: str | None = None, start: str | Position = "first", repeated: bool = False
    ) -> Group:
        """A client becomes a member of a named group, or of a private one that lives as long as it does.

        `start` says where a group without members begins: ``"first"``, ``"live"`` or a position. `repeated` says that
        another daemon may have delivered what follows. A `name` is used once: releases may come after it has left.
        Raises `Refused` when a streamed source has passed the start.
        """
        found = self.groups.get(group) if group is not None else None
        if found is None:
            key = group if group is not None else f"private {name}"
            found = Group(key, group is None, self._start(start), self.now)
            if repeated:
                found.repeated_below = (found.cursor[0] + 1, 0)
            self.groups[key] = found
            self.rehold()
        elif repeated and not isinstance(start, str) and start[0] > found.cursor[0]:
            # a new member came before it, and began the group anew
            found.repeated_below = max(found.repeated_below, (start[0] + 1, 0))
        member = Member(name, found, self.now)
        self.members[name] = found.members[name] = member
        found.turn.append(member)
        self._dirty[found] = None
        return found

    def _start(self, start: str | Position) -> Position:
        if start == "live":
            return self.live()
        position = (0, 0) if isinstance(start, str) else start
        if not self.indexed and not self.oldest() <= position <= self.head:
            oldest, head = self.oldest(), self.head
            raise Refused(
                f"position {position[0]}:{position[1]} of the streamed source {self.name!r} is gone: it only goes "
                f'forward, and stands at {oldest[0]}:{oldest[1]} to {head[0]}:{head[1]}. Client(start="live") begins '
                "there; a restarted daemon begins at 0:0."
            )
        return position

    def leave(self, name: str, pinned: Iterable[int] = ()) -> None:
        """A member is gone: what it had not acknowledged goes to the others of its group.

        The slots of the `pinned` leases are still being read (by a socket) and stay in use until they are released.
        """
        member = self.members.pop(name, None)
        if member is None:
            return
        group, kept = member.group, set(pinned)
        del group.members[name]
        group.turn.remove(member)
        for lease in member.leases.values():
            if not lease.done and group.members:
                group.take_back(lease.entry.position)
                self.window.want(lease.entry, True)
            if lease.number in kept and not lease.released:
                self._orphans[name, lease.number] = lease.entry
            else:
                self._unuse(lease.entry)
        if group.members:
            self._may_take(group)
        else:
            del self.groups[group.name]
            self._dirty.pop(group, None)
            self.rehold()

    def allow(self, name: str, credit: int) -> None:
        """Let a member hold up to `credit` leases from now on."""
        member = self.members.get(name)
        if member is None:
            self.ignored += 1
            return
        member.credit = credit
        self._may_take(member.group)

    def seek(self, name: str, generation: int, position: Position) -> None:
        """Begin a private group anew at a position; what it was given before is fenced off by the generation."""
        member = self.members.get(name)
        if member is None or generation <= member.group.generation:
            self.ignored += 1
            return
        group = member.group
        if not group.private:
            raise Refused(f"group {group.name!r} is shared: it cannot be moved by one member")
        position = self._start(position)
        group.generation = generation
        group.cursor = position
        member.over = False
        self.rehold()  # before the leases go, because it may want their batches again
        for lease in list(member.leases.values()):
            lease.done = True
            self._retire(member, lease)
        self._dirty[group] = None

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
                    if done:
                        lease.done = True
                    else:
                        lease.released = True
                    self._retire(member, lease)
                elif not done and (name, number) in self._orphans:
                    self._unuse(self._orphans.pop((name, number)))
                else:
                    self.ignored += 1
        if member is not None:
            self._may_take(member.group)

    def _retire(self, member: Member, lease: Lease) -> None:
        if lease.done and lease.released:
            del member.leases[lease.number]
            self._unuse(lease.entry)

    def _unuse(self, entry: Entry) -> None:
        entry.uses -= 1
        self.window.settle(entry)

    def _may_take(self, group: Group) -> None:
        self._dirty[group] = None
        if group not in self.holders:
            self.rehold()

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
        """An ordered position cannot be made; its groups are given the error in its place."""
        entry = self.window.entries.get(position)
        self.failed_count += 1
        if entry is not None and entry.state == ORDERED:
            entry.error = error
            entry.state = FAILED
            self._came(entry)

    def _came(self, entry: Entry) -> None:
        if not entry.wanted:
            self.window.settle(entry)
            return
        for group in self.holders:
            if group.cursor == entry.position or entry.position in group.redeliver:
                self._dirty[group] = None

    def lost(self, position: Position, error: Any, *, killed: bool = True) -> None:
        """The worker that had a position is gone: order it again, or fail with `error` when it `killed` too many."""
        entry = self.window.entries.get(position)
        if entry is None or entry.state != ORDERED:
            return
        entry.deaths += killed
        if entry.deaths >= DEATHS:
            self.failed(position, error)
            return
        entry.state = WAITING
        if entry.wanted:
            heapq.heappush(self.again, position)
        else:
            self.window.settle(entry)

    def epoch_length(self, epoch: int, length: int) -> None:
        """An epoch has been opened, or a streamed one has ended: it has `length` batches."""
        self.learn_length(epoch, length)
        self._dirty.update(dict.fromkeys(self.groups.values()))

    def epoch_failed(self, epoch: int, error: Any) -> None:
        """An epoch could not be opened: whoever comes to it is told why; it is tried again after that."""
        self.asked.discard(epoch)
        for group in self.holders:
            position = max(group.planned, group.cursor)
            if position[0] == epoch and position not in self.window.entries:
                self.window.add(position)
                self.failed(position, error)

    def over_from(self, position: Position) -> None:
        """Nothing comes at or after a position: a streamed source that is spent, or one that broke."""
        self.end = position
        self.head = min(self.head, position)
        self.cut(position)
        self._dirty.update(dict.fromkeys(self.groups.values()))

    def tick(self, now: float) -> None:
        """Time has passed: see which groups have stopped."""
        self.now = now
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
        while group.members:
            again = self._next_again(group) if group.redeliver else None
            position = group.cursor if again is None else again
            if again is None and self._at_end(group):
                if group.cursor == position:
                    return
                continue
            entry = self.window.entries.get(position)
            if (entry is None or entry.state < READY) and not self.gone(position):
                return
            member = group.hungry_member()
            if member is None:
                return
            if entry is None:
                entry = self._miss(position, (position[0], position[1] + 1) if again else self.next_kept(position))
            if again is None:
                group.cursor = entry.follower
            else:
                group.redeliver.remove(again)
                heapq.heapify(group.redeliver)
            self._deliver(group, member, entry, again is not None)

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
        length = self.lengths.get(epoch, FAR)
        if index < length and (self.end is None or group.cursor < self.end):
            return False
        if self.held_up(group) or (group.redeliver and not group.private):
            return True
        if self.end is not None and group.cursor >= self.end:
            for member in group.members.values():
                if not member.over:
                    member.over = True
                    self._outbox.append(Over(member.name, group.generation))
            return True
        group.cursor = (epoch + 1, 0)
        for member in group.members.values():
            self._outbox.append(EndEpoch(member.name, group.generation, epoch, length))
        return True

    def _deliver(self, group: Group, member: Member, entry: Entry, again: bool) -> None:
        position = entry.position
        lease = Lease(member.next_lease, entry)
        member.next_lease += 1
        member.leases[lease.number] = lease
        entry.uses += 1
        if entry.slot is None:
            lease.released = True
        redelivered = again or position < group.repeated_below
        member.delivered += 1
        group.delivered += 1
        self.delivered += 1
        group.redelivered += redelivered
        member.last_delivery_s = group.last_delivery_s = self.now
        if entry.wanted and not self.wanted(entry):
            self.window.want(entry, False)
        self._outbox.append(
            Deliver(member.name, lease.number, group.generation, position, entry.slot, entry.error, redelivered)
        )

    # -- for the stats ------------------------------------------------------------------------------------------

    @property
    def starving(self) -> bool:
        """Whether some member could take a batch and none is ready for it."""
        return any(g.hungry for group in self.groups.values() for g in group.members.values()) and not self._dirty

    @property
    def full(self) -> bool:
        """Whether as much is made ahead as may be."""
        return self.window.queued >= self.limit
