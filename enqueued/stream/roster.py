"""Who is in which group: leaving, moving, and what is remembered of groups that nobody is in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from enqueued.batch import Position
from enqueued.errors import Refused
from enqueued.stream.decisions import Decision
from enqueued.stream.group import Group, Lease, Member
from enqueued.stream.places import FAR
from enqueued.stream.plan import Plan
from enqueued.stream.stored import Stored
from enqueued.stream.team import Lane, Team
from enqueued.stream.window import Entry

GRACE_S = 5.0
"""How long a group waits for the members that it had before its daemon was killed: they look for it twice a second."""
_MOST_REMEMBERED = 1000


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
        self.remembered: dict[str, Stored] = {}
        """Named groups without members, those that lost theirs last at the end."""
        self.unwritten: int | None = None
        """How many a group may deliver before the state file knows that it has members again."""
        self.kept = False
        """Whether named groups are kept on disk: then one that begins waits until it is there."""
        self.fresh = False
        """Whether a group waits for that."""
        self.ignored = 0
        self._decided: list[Decision] = []
        self._dirty: dict[Group, None] = {}  # a dict, because a set of objects has another order in each process
        self._orphans: dict[tuple[str, int], Entry] = {}
        self._restored: list[Group] = []
        """Groups that wait for members of before."""

    def _start(self, start: str | Position) -> Position:
        """Where a group begins. Raises `Refused` where that is gone."""
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
        if isinstance(group, Lane):
            self.fresh |= self.kept  # after a crash it is good to know whether it had done its part
            group.rewind()
        del group.members[name]
        if group.team is not None:
            group.team.muster()
        group.back -= member.returned
        held = member.held()
        if not group.private:
            for position in member.unacknowledged():
                group.take_back(position)
        goes_on = group.members or group.team is not None
        for lease in held:
            entry = lease.entry
            if lease.done != lease.full and goes_on and self.window.entries.get(entry.position) is entry:
                self.window.want(entry, self.wants(entry))
            for number in range(lease.number, lease.number + lease.count):
                if number in kept and number in member.leases and not lease.is_released(number):
                    self._orphans[name, number] = entry
                    entry.uses += 1
            self._unuse(entry)
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
        group.go((position[0], position[1] + group.rank))
        if group.team is not None:
            group.team.muster()
        group.taken.clear()
        member.over = False
        self.rehold()  # before the leases go, because it may want their batches again
        for lease in member.held():
            over = lease.released & ~lease.done
            lease.done = lease.full
            if over:
                self._retire(member, lease, over)
        self._may_take(group)
        if group.team is not None:
            self._dirty.update(group.team.waiting)

    def _retire(self, member: Member, lease: Lease, over: int) -> None:
        """Those of a lease's numbers are done and released now that have a bit in `over`."""
        leases, first = member.leases, lease.number
        if over == lease.full:
            for number in range(first, first + lease.count):
                del leases[number]
        else:
            for n in range(lease.count):
                if over >> n & 1:
                    del leases[first + n]
        if lease.done & lease.released == lease.full:
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
        length = self.lengths.get(position[0], FAR)
        if position[1] >= length:
            raise Refused(f"epoch {position[0]} has {length} batches, and {position[0]}:{position[1]} is none of them")
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
        waits = self.now < group.held_until  # for members of before, which may come back to a group that nobody is in
        return Stored(
            group.cursor,
            missing,
            tuple(sorted(group.taken)),
            group.generation,
            members=group.expected if waits else 0,
            ahead=group.suspects,
            until=group.held_until,
            room=None if group.most is None else max(0, group.most - group.delivered),
        )

    def store_team(self, team: Team) -> Stored:
        """Where the slowest rank stands: all go on from there."""
        places = [lane.place(min([lane.cursor, *lane.unacknowledged()])) for lane in team.lanes.values()]
        left = tuple((rank, *lane.cursor) for rank, lane in team.lanes.items() if not lane.members)
        return Stored(min(places), ranks=True, world_size=team.world_size, left=left)
