"""Who is let in: claims that are checked, groups that begin, go on, or wait for the members that they had."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from enqueued.batch import Position
from enqueued.errors import Refused
from enqueued.stream.group import Group, Lease, Member
from enqueued.stream.places import FAR, NEAR_EPOCHS
from enqueued.stream.roster import GRACE_S, NotYet, Roster
from enqueued.stream.stored import Stored
from enqueued.stream.team import Team
from enqueued.stream.window import GONE, Entry
from enqueued.wire.hello import MOST_RANKS, Claim

_OTHERS_S = 30.0
"""How long somebody waits who brings a state to a group that still has members of before."""
_TAKEN_S = 6.0
"""How long somebody waits whose rank is taken: three times what it takes to notice that a host is gone."""
_MOST_APART = 1 << 17
"""How far from its cursor, and how often, a group believes a returning member that it has had a position."""
_MOST_LANES = 2 * MOST_RANKS
"""How many ranks all groups have together: each costs time in every turn, also where nobody has come for it."""


class Admission(Roster):
    """Joining."""

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
        if claim.returning and group.team is None:
            self._take_up(member, claim)
        self._dirty[group] = None
        if group.team is not None:
            group.team.muster()
            self._dirty.update(group.team.waiting)
        self.rehold()
        return group

    # -- split groups -------------------------------------------------------------------------------------------

    def _split(self, claim: Claim, name: str) -> Group:
        if name in self.teams:
            raise Refused(f"group {name!r} has ranks: join it with rank and world_size, or name another group")
        group = self.groups.get(name)
        if group is None:
            return self._open(claim, name)
        if claim.origin is not None and claim.origin != group.origin:
            raise NotYet(
                f"group {name!r} has members ({', '.join(group.members)}), and a saved state is for all of them: stop "
                "them first, or name another group",
                _OTHERS_S,
            )
        ahead = isinstance(claim.start, tuple) and claim.start[0] > group.cursor[0]
        if claim.returning and claim.generation >= group.generation and ahead and isinstance(claim.start, tuple):
            # a new member came before it, and began the group anew
            group.repeated_below = max(group.repeated_below, (claim.start[0] + 1, 0))
        return group

    def _open(self, claim: Claim, name: str) -> Group:
        """A named group gets its first member."""
        stored = self.remembered.get(name)
        if stored is not None and stored.members and not claim.returning and self.now < stored.until:
            raise NotYet(f"group {name!r} waits for the members that it had before", stored.until - self.now)
        stale = stored is not None and claim.returning and claim.generation > stored.generation
        if stored is not None and not (stored.ranks or stale) and (claim.returning or claim.start == "stored"):
            group = self._reopen(name, stored)
            if stored.members and claim.returning and claim.generation == stored.generation and self.now < stored.until:
                self._hold(group, stored.members)
        else:
            start = stored.position if stored is not None and claim.start == "stored" else claim.start
            group = Group(name, False, self._start(start), self.now)
            group.origin = claim.origin
            if self.kept:
                group.most, self.fresh = 0, True
            if claim.returning:
                group.generation = claim.generation
                group.repeated_below = (group.cursor[0] + 1, 0)
                self._hold(group, 0)  # nothing is known of the others, who may come back too
            elif claim.origin is not None:
                group.redeliver = self._missing(group, claim.missing)
            if stored is not None and not claim.returning:
                group.generation = stored.generation + 1  # so that its members are told from those of before
        self.remembered.pop(name, None)
        return group

    def _hold(self, group: Group, expected: int) -> None:
        """Give the members of before some time to say what they have had."""
        group.held_until, group.expected = self.now + GRACE_S, expected
        self._restored.append(group)

    def _reopen(self, name: str, stored: Stored) -> Group:
        group = Group(name, False, self._start(stored.position), self.now)
        group.redeliver = self._exist(stored.missing)
        group.taken = {position for position in stored.taken if position > group.cursor}
        group.generation = stored.generation
        group.suspects = stored.ahead
        group.most = self.unwritten if stored.room is None else stored.room
        return group

    def _missing(self, group: Group, missing: tuple[Position, ...]) -> list[Position]:
        """What a saved state says is still to be delivered. Raises `Refused` for what no state can say."""
        epoch = group.cursor[0]
        if any(position[0] != epoch or position >= group.cursor for position in missing):
            raise Refused(
                f"the saved state of group {group.name!r} stands at {epoch}:{group.cursor[1]} and misses positions "
                "that are not before that in its epoch: it was changed, or put together from two"
            )
        return self._exist(missing)

    def _exist(self, positions: Iterable[Position]) -> list[Position]:
        return sorted({position for position in positions if position[1] < self.lengths.get(position[0], FAR)})

    def _take_up(self, member: Member, claim: Claim) -> None:
        """A member comes back from a daemon that is gone: what it has had is not given again."""
        group = member.group
        member.next_lease = len(claim.held)  # whatever is believed of them, it goes on counting from there
        if claim.generation != group.generation:
            self.ignored += len(claim.held) + len(claim.acked)
            return
        owed = set(group.redeliver)
        for position in claim.acked:
            self._believe(group, position, owed)
        for number, position in enumerate(claim.held):
            if self._believe(group, position, owed):
                entry = Entry(position)
                entry.state, entry.wanted, entry.uses = GONE, False, 1
                lease = member.leases[number] = Lease(number, entry, position)
                lease.released = lease.full
            else:
                self.ignored += 1
        if len(owed) < len(group.redeliver):
            group.redeliver = sorted(owed)
        group.step()
        member.returned = True
        group.back += 1
        if group.back == group.expected:
            group.held_until = 0.0  # what is marked stays marked: one that came after the last record may be missing

    def _believe(self, group: Group, position: Position, owed: set[Position]) -> bool:
        """Note that a member has had a position; False when the group has given that to another one since."""
        if position in owed:
            owed.remove(position)
            return True
        epoch, index = group.cursor
        ahead = position[1] - index if position[0] == epoch else position[1]
        near = epoch <= position[0] <= epoch + NEAR_EPOCHS and 0 <= ahead < _MOST_APART
        exists = position[1] < self.lengths.get(position[0], FAR)
        if near and exists and position not in group.taken and len(group.taken) < _MOST_APART:
            group.taken.add(position)
            return True
        return False

    # -- ranks --------------------------------------------------------------------------------------------------

    def _lane(self, claim: Claim, rank: int) -> Group:
        name = claim.group or ""
        if name in self.groups:
            raise Refused(f"group {name!r} has members without rank; name another group, or give none of them a rank")
        team = self.teams.get(name)
        if team is None:
            team = self._team(claim, name, rank)
        self._check(team, claim, rank)
        lane = team.lanes[rank]
        if isinstance(claim.start, tuple) and claim.start != lane.cursor:
            base = claim.base or lane.base
            self._start(_place(claim.start, rank, base, claim.world_size))
            lane.go(claim.start)
            lane.base = base
        if name not in self.teams:
            self.teams[name] = team
            self.groups.update((one.name, one) for one in team.lanes.values())
        team.last_delivery_s = self.now
        return lane

    def _team(self, claim: Claim, name: str, rank: int) -> Team:
        """A group of ranks gets its first member; the others are expected where that is."""
        others = sum(team.world_size for team in self.teams.values())
        if others + claim.world_size > _MOST_LANES:
            raise Refused(
                f"group {name!r} would have {claim.world_size} ranks, other groups of {self.name!r} have {others}, and "
                f"{_MOST_LANES} is the most: end a group that is not used"
            )
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
            base = claim.base or (claim.start[0], max(0, claim.start[1] - rank))
            place = self._start(_place(claim.start, rank, base, claim.world_size))
        else:
            stored = self.remembered.get(name)
            place = base = self._start(stored.position if stored and claim.start == "stored" else claim.start)
        team = Team(name, claim.world_size, claim.tail, claim.origin, place, base, self.now)
        stored = self.remembered.get(name)
        if claim.returning and stored is not None and stored.world_size == claim.world_size:
            for left, epoch, index in stored.left:  # the others need not wait for one that had done its part
                team.lanes[left].go((epoch, index))
        return team

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


def _place(start: Position, rank: int, base: Position, world_size: int) -> Position:
    """Where the step begins that a rank goes on with. Raises `Refused` when the rank has no batch there."""
    epoch, index = start
    steps = index - rank - (base[1] if base[0] == epoch else 0)
    if steps < 0 or steps % world_size or epoch < base[0]:
        raise Refused(
            f"rank {rank} of {world_size} has no batch at {epoch}:{index} when steps count from {base[0]}:{base[1]}"
        )
    return epoch, index - rank


def _told(origin: Position | None) -> str:
    return "without a saved state" if origin is None else f"with a state of {origin[0]}:{origin[1]}"
