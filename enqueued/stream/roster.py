"""Who is in which group: joining, leaving, and what is remembered of groups that nobody is in."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from enqueued.batch import Position
from enqueued.errors import Refused
from enqueued.stream.decisions import Decision
from enqueued.stream.group import Group, Lease, Member, Stored, Team
from enqueued.stream.plan import FAR, Plan
from enqueued.stream.window import GONE, Entry
from enqueued.wire.hello import Claim

GRACE_S = 5.0
"""How long a group waits for the members that it had before its daemon was killed: they look for it twice a second."""
_OTHERS_S = 30.0
"""How long somebody waits who brings a state to a group that still has members of before."""
_TAKEN_S = 6.0
"""How long somebody waits whose rank is taken: three times what it takes to notice that a host is gone."""
_MOST_REMEMBERED = 1000
_MOST_APART = 1 << 17
"""How far from its cursor a group believes a returning member that it has had a position."""


class NotYet(Refused):
    """The claim cannot be met now, and may be within `within_s` seconds."""

    def __init__(self, message: str, within_s: float) -> None:
        super().__init__(message)
        self.within_s = within_s


class Roster(Plan):
    """The members of a stream and their groups."""

    def __init__(self, name: str, **plan: Any) -> None:
        super().__init__(**plan)
        self.name = name
        self.members: dict[str, Member] = {}
        self.teams: dict[str, Team] = {}
        self.remembered: dict[str, Stored] = {}
        """Named groups without members, those that lost theirs last at the end."""
        self.ignored = 0
        self._outbox: list[Decision] = []
        self._dirty: dict[Group, None] = {}  # a dict, because a set of objects has another order in each process
        self._orphans: dict[tuple[str, int], Entry] = {}
        self._restored: list[Group] = []
        """Groups that wait for members of before."""

    # -- joining ------------------------------------------------------------------------------------------------

    def join(self, name: str, claim: Claim | None = None, **fields: Any) -> Group:
        """A client becomes a member of the group that its claim (or the claim of these fields) is for.

        A `name` is used once: releases may come after it has left. Raises `Refused` when that cannot be, and `NotYet`
        when it may be soon.
        """
        claim = Claim(**fields) if claim is None else claim
        if claim.rank is not None:
            group = self._lane(claim, claim.rank)
        elif claim.group is not None:
            group = self._split(claim, claim.group)
        else:
            group = Group(f"private {name}", True, self._start(claim.start), self.now)
            epoch = group.cursor[0]
            group.taken = {p for p in claim.taken if p[0] == epoch and 0 < p[1] - group.cursor[1] <= _MOST_APART}
        member = Member(name, group, self.now)
        self.members[name] = group.members[name] = member
        group.turn.append(member)
        self.groups[group.name] = group
        if claim.returning:
            self._take_up(member, claim)
        self._dirty[group] = None
        if group.team is not None:
            self._dirty.update(group.team.waiting)
        self.rehold()
        return group

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

    # -- split groups -------------------------------------------------------------------------------------------

    def _split(self, claim: Claim, name: str) -> Group:
        if name in self.teams:
            raise Refused(f"group {name!r} has ranks: join it with rank and world_size, or name another group")
        group = self.groups.get(name)
        if group is None:
            return self._open(claim, name)
        if claim.origin is not None:
            raise NotYet(
                f"group {name!r} has members ({', '.join(group.members)}), and a saved state is for all of them: stop "
                "them first, or name another group",
                _OTHERS_S,
            )
        if claim.returning and claim.generation != group.generation:
            return group
        if claim.returning and isinstance(claim.start, tuple) and claim.start[0] > group.cursor[0]:
            # a new member came before it, and began the group anew
            group.repeated_below = max(group.repeated_below, (claim.start[0] + 1, 0))
        return group

    def _open(self, claim: Claim, name: str) -> Group:
        """A named group gets its first member."""
        stored = self.remembered.get(name)
        if stored is not None and stored.members and not claim.returning and self.now < stored.until:
            raise NotYet(f"group {name!r} waits for the members that it had before", stored.until - self.now)
        if stored is not None and not stored.ranks and (claim.returning or claim.start == "stored"):
            group = Group(name, False, self._start(stored.position), self.now)
            group.redeliver = sorted(stored.missing)
            group.taken = set(stored.taken)
            group.generation = stored.generation
            group.suspects = stored.ahead
            if stored.members and claim.returning and self.now < stored.until:
                group.held_until, group.expected = self.now + GRACE_S, stored.members
                self._restored.append(group)
        else:
            start = stored.position if stored is not None and claim.start == "stored" else claim.start
            group = Group(name, False, self._start(start), self.now)
            if claim.returning:
                group.generation = claim.generation
                group.repeated_below = (group.cursor[0] + 1, 0)
            elif claim.origin is not None:
                group.redeliver = sorted({p for p in claim.missing if p < group.cursor})
        self.remembered.pop(name, None)
        return group

    def _take_up(self, member: Member, claim: Claim) -> None:
        """A member comes back from a daemon that is gone: what it has had is not given again."""
        group = member.group
        if claim.generation != group.generation:
            self.ignored += len(claim.held) + len(claim.acked)
            claim = replace(claim, held=(), acked=())
        for position in (*claim.held, *claim.acked):
            if position in group.redeliver:
                group.redeliver.remove(position)
                heapq.heapify(group.redeliver)
            elif 0 <= self.gap(group.cursor, position) < _MOST_APART:
                group.taken.add(position)
            group.seen = max(group.seen, (position[0], position[1] + 1))
        group.step()
        for position in claim.held:
            entry = Entry(position)
            entry.state, entry.wanted, entry.uses = GONE, False, 1
            lease = member.leases[member.next_lease] = Lease(member.next_lease, entry, position)
            lease.released = True
            member.next_lease += 1
        group.back += 1
        if group.back == group.expected:
            # all are there, so it is known what was delivered
            group.held_until, group.suspects = 0.0, 0
            group.repeated_below = max(group.repeated_below, group.seen)

    # -- ranks --------------------------------------------------------------------------------------------------

    def _lane(self, claim: Claim, rank: int) -> Group:
        name = claim.group or ""
        if name in self.groups:
            raise Refused(f"group {name!r} has members without rank; name another group, or give none of them a rank")
        team = self.teams.get(name)
        if team is None:
            team = self.teams[name] = self._team(claim, name, rank)
            self.groups.update((lane.name, lane) for lane in team.lanes.values())
        self._check(team, claim, rank)
        lane = team.lanes[rank]
        if isinstance(claim.start, tuple) and claim.start != lane.cursor:
            self._start((claim.start[0], max(0, claim.start[1] - rank)))
            lane.cursor, lane.base = claim.start, claim.base or lane.base
        team.last_delivery_s = self.now
        return lane

    def _team(self, claim: Claim, name: str, rank: int) -> Team:
        """A group of ranks gets its first member; the others are expected where that is."""
        if not self.indexed and claim.tail == "pad":
            raise Refused(f'the streamed source {self.name!r} cannot repeat batches: tail="pad" needs an indexed one')
        if not self.indexed and claim.world_size > self.max_queue_size:
            raise Refused(
                f"{claim.world_size} ranks of a streamed source take a whole step at a time, and the queue holds "
                f"{self.max_queue_size} batches: serve with --max-queue-size {claim.world_size} or more"
            )
        shortest = min(self.lengths.values(), default=FAR)
        if self.indexed and claim.tail == "drop" and shortest < claim.world_size:
            raise Refused(
                f"an epoch has {shortest} batches, fewer than the {claim.world_size} ranks, so that nothing would be "
                'left with tail="drop"; use tail="pad"'
            )
        if isinstance(claim.start, tuple):
            place = self._start((claim.start[0], max(0, claim.start[1] - rank)))
            base = claim.base or (place[0], 0)
        else:
            stored = self.remembered.get(name)
            place = base = self._start(stored.position if stored and claim.start == "stored" else claim.start)
        return Team(name, claim.world_size, claim.tail, claim.origin, place, base, self.now)

    def _check(self, team: Team, claim: Claim, rank: int) -> None:
        """All ranks want the same, and each of them once."""
        for what in ("world_size", "tail"):
            if getattr(team, what) != getattr(claim, what):
                raise NotYet(
                    f"group {team.name!r} has {what} {getattr(team, what)!r}, and rank {rank} comes with "
                    f"{getattr(claim, what)!r}: all ranks say the same, or name different groups",
                    _TAKEN_S,
                )
        if team.origin != claim.origin:
            raise NotYet(
                f"ranks {team.present} of group {team.name!r} began {_told(team.origin)}, and rank {rank} comes "
                f"{_told(claim.origin)}: all ranks go on from the same saved state",
                _OTHERS_S,
            )
        if rank in team.present:
            raise NotYet(
                f"rank {rank} of group {team.name!r} is there already: give each process a rank of its own, or each "
                "run a group of its own",
                _TAKEN_S,
            )

    # -- leaving ------------------------------------------------------------------------------------------------

    def leave(self, name: str, pinned: Iterable[int] = ()) -> None:
        """A member is gone: what it had not acknowledged goes to the others of its group, or waits for its rank.

        The slots of the `pinned` leases are still being read (by a socket) and stay in use until they are released.
        """
        member = self.members.pop(name, None)
        if member is None:
            return
        group, kept = member.group, set(pinned)
        group.turn.remove(member)
        if group.team is not None:
            group.rewind()
            group.planned = group.cursor
        del group.members[name]
        for lease in member.leases.values():
            if not lease.done and not group.private:
                group.take_back(lease.position)
                if group.members and self.window.entries.get(lease.position) is lease.entry:
                    self.window.want(lease.entry, True)
            if lease.number in kept and not lease.released:
                self._orphans[name, lease.number] = lease.entry
            else:
                self._unuse(lease.entry)
        if group.members:
            self._may_take(group)
        elif group.team is None:
            self._forget_group(group)
        elif not group.team.present:
            self._remember(group.team.name, self.store_team(group.team))
            del self.teams[group.team.name]
            for lane in group.team.lanes.values():
                self._drop(lane)
        self.rehold()

    def _forget_group(self, group: Group) -> None:
        if not group.private:
            self._remember(group.name, self.remembered.get(group.name) or self.store(group))
        self._drop(group)

    def _drop(self, group: Group) -> None:
        self.groups.pop(group.name, None)
        self._dirty.pop(group, None)

    def _remember(self, name: str, stored: Stored) -> None:
        self.remembered.pop(name, None)
        self.remembered[name] = stored
        while len(self.remembered) > _MOST_REMEMBERED:
            del self.remembered[next(iter(self.remembered))]

    def _unuse(self, entry: Entry) -> None:
        entry.uses -= 1
        self.window.settle(entry)

    def _may_take(self, group: Group) -> None:
        self._dirty[group] = None
        if group not in self.holders:
            self.rehold()

    # -- moving -------------------------------------------------------------------------------------------------

    def seek(self, name: str, generation: int, position: Position) -> None:
        """Begin a private group or a lane anew at a position; `generation` fences off what it was given before."""
        member = self.members.get(name)
        if member is None or generation <= member.group.generation:
            self.ignored += 1
            return
        group = member.group
        if not group.private:
            raise Refused(f"group {group.name!r} is shared: it cannot be moved by one member")
        position = self._start(position)
        group.generation, group.base = generation, position
        group.cursor = (position[0], position[1] + group.rank)
        group.taken.clear()
        member.over = False
        self.rehold()  # before the leases go, because it may want their batches again
        for lease in list(member.leases.values()):
            lease.done = True
            self._retire(member, lease)
        self._dirty[group] = None
        if group.team is not None:
            self._dirty.update(group.team.waiting)

    def _retire(self, member: Member, lease: Lease) -> None:
        if lease.done and lease.released:
            del member.leases[lease.number]
            self._unuse(lease.entry)

    def reset(self, name: str, position: Position) -> list[str]:
        """Set where a named group goes on; the names of its members, who have to leave and come back for it.

        Raises `Refused` when there is no such group, or when it cannot be moved.
        """
        if name in self.teams:
            ranks = self.teams[name].present
            raise Refused(f"group {name!r} has the ranks {ranks}, which go where they say: stop its trainers first")
        group = self.groups.get(name)
        stored = self.remembered.get(name)
        if (group is None or group.private) and stored is None:
            raise Refused(self._unknown(name))
        position = self._start(position)
        members = [] if group is None else list(group.members)
        generation = (group.generation if group is not None else stored.generation if stored is not None else 0) + 1
        coordinated = stored is not None and stored.ranks
        until = self.now + GRACE_S
        self._remember(name, Stored(position, (), (), generation, coordinated, len(members), 0, until))
        return members

    def forget(self, name: str) -> None:
        """Forget a named group without members. Raises `Refused` when it has some, or is not known."""
        group, team = self.groups.get(name), self.teams.get(name)
        members = [m for lane in (team.lanes.values() if team else [group] if group else []) for m in lane.members]
        if members:
            raise Refused(f"group {name!r} has members ({', '.join(members)}): stop them first")
        if name not in self.remembered:
            raise Refused(self._unknown(name))
        del self.remembered[name]

    def _unknown(self, name: str) -> str:
        known = [one for one in (*self.remembered, *self.teams, *self.groups) if " " not in one and "/" not in one]
        return f"there is no group {name!r} with a name; there is {', '.join(map(repr, known)) or 'none'}"

    # -- what the state file knows ------------------------------------------------------------------------------

    def wake(self, group: Group) -> None:
        """Something that a group may have waited for has come."""
        self._dirty[group] = None

    def store(self, group: Group) -> Stored:
        """Where a named group stands."""
        missing = tuple(group.unacknowledged())
        return Stored(group.cursor, missing, tuple(sorted(group.taken)), group.generation)

    def store_team(self, team: Team) -> Stored:
        """Where the slowest rank stands: all go on from there."""
        places = [lane.place(min([lane.cursor, *lane.unacknowledged()])) for lane in team.lanes.values()]
        return Stored(min(places), ranks=True)


def _told(origin: Position | None) -> str:
    return "without a saved state" if origin is None else f"with a state of {origin[0]}:{origin[1]}"
