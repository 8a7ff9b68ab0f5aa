"""Who is given which batch now, and what members are told."""

from __future__ import annotations

from typing import Any

from enqueued.batch import Position
from enqueued.stream.admission import Admission
from enqueued.stream.decisions import Decision, Deliver, EndEpoch, Over
from enqueued.stream.group import Group, Lease, Member
from enqueued.stream.places import FAR
from enqueued.stream.team import Team
from enqueued.stream.window import FAILED, GONE, READY, Entry


class Delivery(Admission):
    """Groups that could go on are pumped until they cannot."""

    def __init__(self, name: str, **plan: Any) -> None:
        super().__init__(name, **plan)
        self.delivered = 0

    def decisions(self) -> list[Decision]:
        """What has to be told to members, in order; each is told once."""
        while self._dirty:
            self._pump(self._dirty.popitem()[0])
        decided, self._decided = self._decided, []
        return decided

    def _pump(self, group: Group) -> None:
        if self.now < group.held_until:
            return  # it waits for members of before
        team, entries = group.team, self.window.entries
        most = FAR if group.most is None else group.most
        while group.members and group.delivered < most:  # beyond that it waits for the state file
            at, again = group.cursor, False
            if group.redeliver:
                found = self._next_again(group)
                again = found is not None
                at = found or at
            if not again and self._at_end(group):
                if group.cursor == at:
                    return
                continue
            position = at
            if team is not None:
                if self.apart(team, group.place(at)):
                    team.waiting[group] = None
                    return
                position = self.real(group, at)
            entry = entries.get(position)
            if (entry is None or entry.state < READY) and not self.gone(position):
                entry = self._overtaking(group) if self.reorder_window and not again else None
                if entry is None:
                    return
                at = position = entry.position
            member = group.hungry_member()
            if member is None:
                return
            if entry is None:
                entry = self._miss(position, (position[0], position[1] + 1) if again else self.next_kept(position))
            count = 1
            if again:
                group.repay(at)
            elif team is not None:
                group.go((at[0], at[1] + group.stride) if entry.state != GONE else self._next_step(group, entry))
            elif self.reorder_window and at != group.cursor:
                group.taken.add(at)
                self._picky = True
            elif entry.count > 1:
                count = self._together(group, member, entry, most)
                group.cursor = (at[0], at[1] + count)
                if group.taken:
                    group.step()
            else:
                group.cursor = entry.follower
                if group.taken:
                    group.step()
            self._deliver(group, member, entry, at, position, again, count)
            if entry.state == GONE:
                self.sweep()  # the group has passed what it would have wanted

    def _together(self, group: Group, member: Member, entry: Entry, most: int) -> int:
        """How many batches of a run a member is given at once: all are marked alike, and members share it."""
        at = group.cursor
        if group.taken or group.suspects or at < group.repeated_below:
            return 1
        rest = min(entry.follower[1] - at[1], -(-entry.count // len(group.members)))
        return min(rest, member.credit - len(member.leases), most - group.delivered)

    def _next_step(self, lane: Group, entry: Entry) -> Position:
        """The cursor of a lane after an error that stands for several positions."""
        epoch, index = lane.cursor
        steps = -(-(entry.follower[1] - index) // lane.stride)
        return epoch, index + max(1, steps) * lane.stride

    def _too_short(self, lane: Group, team: Team) -> None:
        """Tell a rank that a whole epoch has no step for it."""
        member = lane.hungry_member()
        if member is None or self.apart(team, lane.place(lane.cursor)):
            team.waiting[lane] = None
            return
        epoch, index = at = lane.cursor
        entry = Entry(at)
        entry.state, entry.wanted = FAILED, False
        entry.error = {
            "message": f"epoch {epoch} has {self.lengths[epoch]} batches, fewer than the {team.world_size} ranks, so "
            'that nothing is left with tail="drop"; use tail="pad"'
        }
        lane.go((epoch, index + lane.stride))
        self._deliver(lane, member, entry, at, at, again=False)

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
        for position in self.owing(group):
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
        team = group.team
        left = self.lengths.get(epoch, FAR) - index
        if (left >= group.stride or not self.ended(group, epoch, index)) and (
            self.end is None or group.cursor < self.end
        ):
            return False
        if team is not None and index == group.rank and self.end_of(group, epoch) == 0:
            self._too_short(group, team)
            return True
        if self.held_up(group) or self.owing(group):
            return True
        if self.end is not None and group.cursor >= self.end:
            for member in group.members.values():
                if not member.over:
                    member.over = True
                    self._decided.append(Over(member.name, group.generation))
            return True
        group.go(group.first(epoch + 1))
        if group.taken:  # by those who know what they had of epochs to come, before a crash; the rest never was
            group.taken = {position for position in group.taken if position[0] > epoch}
            group.step()
        for member in group.members.values():
            self._decided.append(EndEpoch(member.name, group.generation, epoch, self.lengths[epoch]))
        return True

    def _deliver(
        self, group: Group, member: Member, entry: Entry, at: Position, position: Position, again: bool, count: int = 1
    ) -> None:
        """Give a member what lies at `position` of an entry; `at` is where that is in the group's own way."""
        number, team, slot = member.next_lease, group.team, entry.slot
        member.next_lease = number + count
        lease = Lease(number, entry, at, count)
        if count == 1:
            member.leases[number] = lease
        else:
            member.leases.update(dict.fromkeys(range(number, number + count), lease))
        entry.uses += 1
        if slot is None:
            lease.released = lease.full
        elif count != entry.count:
            slot = slot.part(position[1] - entry.position[1], count)
        redelivered = again or at < group.repeated_below
        if group.suspects and not again:
            group.suspects -= 1
            redelivered = True
        member.delivered += count
        group.delivered += count
        self.delivered += count
        if redelivered:
            group.redelivered += 1
        member.last_delivery_s = group.last_delivery_s = self.now
        if entry.wanted and not self.wants(entry):
            self.window.want(entry, False)
        padded = team is not None and at != position
        self._decided.append(
            Deliver(member.name, number, group.generation, position, slot, entry.error, redelivered, padded)
        )
        if team is not None:
            team.last_delivery_s = self.now
            if team.waiting:
                self._dirty.update(team.waiting)
                team.waiting.clear()

    # -- for the stats ------------------------------------------------------------------------------------------

    def waits_for(self, group: Group) -> str:
        """Who holds a group up, in words; empty when that is nobody, or the workers."""
        if self.now < group.held_until:
            return f"members of before: {group.back}{f' of {group.expected}' * bool(group.expected)} have come back"
        if group.most is not None and group.delivered >= group.most:
            return "the state file, in which it has to be before it goes on"
        if group.team is not None and group.team.stop is not None:
            return _ranks(group.team.absent, "is not there", "are not there")
        if group.team is not None and group.hungry() and self.apart(group.team, group.place(group.cursor)):
            at, lanes = group.team.rear(), group.team.lanes
            slow = [rank for rank, lane in lanes.items() if lane.place(lane.cursor) == at and not lane.hungry()]
            if slow:
                return _ranks(slow, "takes nothing", "take nothing")
        if self.held_up(group):
            held = {name: len(member.unacknowledged()) for name, member in group.members.items()}
            return ", ".join(
                f"{name} to acknowledge {count} batch{'es' * (count > 1)}" for name, count in held.items() if count
            )
        if not group.hungry() or self.real(group, group.cursor) in self.window.entries:
            return ""
        behind = [g for g in self.holders if g is not group and g.cursor < group.cursor and not g.hungry()]
        rear = min(behind, key=lambda g: g.cursor, default=None)
        return "" if rear is None else f"{rear.name} at {rear.cursor[0]}:{rear.cursor[1]}"


def _ranks(ranks: list[int], one: str, several: str) -> str:
    """What some ranks do, however many they are."""
    few = ", ".join(map(str, ranks[:8])) + ", ..." * (len(ranks) > 8)
    return f"rank {few}, which {one}" if len(ranks) == 1 else f"ranks {few}, which {several}"
