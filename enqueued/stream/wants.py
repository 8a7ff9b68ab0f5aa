"""For whom the window is kept, and what of it somebody has yet to take.

Groups that stand within `max_queue_size` of each other form a cohort and share one look-ahead, so that a position is
made once for all of them; the leader waits at the edge. Cohorts that are further apart divide the queue between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from enqueued.batch import Position
from enqueued.stream.group import Group
from enqueued.stream.places import FAR, Places
from enqueued.stream.team import Lane, Team
from enqueued.stream.window import READY, Entry


class Wants(Places):
    """The groups that count, and what they want."""

    def __init__(self, *, indexed: bool, max_queue_size: int, lag_timeout_s: float, now: float) -> None:
        super().__init__(indexed=indexed)
        self.max_queue_size = max_queue_size
        self.limit = max_queue_size
        """How many batches may queue now: `max_queue_size`, or fewer when memory is short."""
        self.lag_timeout_s = lag_timeout_s
        self.now = now
        self.groups: dict[str, Group] = {}
        """All groups; of a team its lanes."""
        self.teams: dict[str, Team] = {}
        self.idle = Group("", True, (0, 0), now)
        """Stands in when there is no group, so that the first positions are ready for the next one."""
        self.holders: dict[Group, None] = {self.idle: None}
        """The groups that the window is kept for."""
        self._share = max_queue_size
        self._single: list[Group] = [self.idle]
        """Those of the holders that are no lanes."""
        self._crews: list[Team] = []
        """The teams of the others."""
        self._picky = False
        """Whether some holder takes less than everything that follows its cursor."""

    # -- who counts ---------------------------------------------------------------------------------------------

    def live(self) -> Position:
        """Where the rearmost of the groups stands that the window is kept for, if that can still be given."""
        rear = min(group.cursor for group in self.holders)
        return rear if self.indexed else max(rear, self.oldest())

    def waited_for(self) -> dict[Group, None]:
        """The groups that the window waits for: not one that has stopped while others move."""
        moving = {group: None for group in self.groups.values() if group.team is None and not self.stopped(group)}
        for team in self.teams.values():
            if self.now - team.last_delivery_s <= self.lag_timeout_s or not team.idle:  # ranks stop together
                moving.update(dict.fromkeys(team.lanes.values()))
        return moving or dict.fromkeys(self.groups.values())

    def stopped(self, group: Group) -> bool:
        """Whether a group has taken nothing for the lag time, and that is its own doing."""
        if self.now - group.last_delivery_s <= self.lag_timeout_s:
            return False
        return not group.hungry() or self.held_up(group)

    def held_up(self, group: Group) -> bool:
        """Whether a shared group is at an end, and some member holds a batch that is not acknowledged."""
        epoch, index = group.cursor
        at_end = index >= self.end_of(group, epoch) or (self.end is not None and group.cursor >= self.end)
        return at_end and not group.private and group.holding()

    def rehold(self) -> None:
        """Work out anew for whom the window is kept, and drop what nobody wants."""
        live = self.live()
        self.holders = self.waited_for()
        if not self.holders:
            if not self.indexed:
                self.idle.go(live)
            self.holders = {self.idle: None}
        self._single = [group for group in self.holders if group.team is None]
        self._crews = list({group.team: None for group in self.holders if group.team is not None})
        self._set_share()
        self.sweep()

    def _cohorts(self) -> list[Group]:
        """The rearmost group of each cohort; ranks are never so far apart that they are two."""
        if len(self.holders) == 1:
            return list(self.holders)
        fronts = [min(team.lanes.values(), key=_cursor) for team in self._crews] + self._single
        if not self.indexed:
            return [min(fronts, key=_cursor)]
        fronts.sort(key=_cursor)
        return [fronts[0]] + [
            group
            for before, group in itertools.pairwise(fronts)
            if self.gap(before.cursor, group.cursor) > self.max_queue_size
        ]

    def _set_share(self) -> list[Group]:
        cohorts = self._cohorts()
        self._picky = bool(self._crews) or any(group.taken for group in self._single)
        share = max(self._least(), self.limit // len(cohorts))
        if share < self._share:
            self._share = share
            self.sweep()
        self._share = share
        return cohorts

    def _least(self) -> int:
        """The smallest share: one batch, or a step of all ranks, who else would wait for each other's batches."""
        return max((team.world_size for team in self._crews), default=1)

    def resize(self, limit: int) -> None:
        """Let at most `limit` batches queue, `max_queue_size` at most."""
        limit = max(1, min(limit, self.max_queue_size))
        if limit != self.limit:
            self.limit = limit
            self._set_share()

    def apart(self, team: Team, place: Position) -> bool:
        """Whether a rank has to wait with a step for another rank, or for the whole step to be there.

        Nothing is given before all ranks have come, and nothing beyond the step of one that has left; nobody is further
        ahead of another than the queue is long.
        """
        if team.stop is not None and place >= team.stop:
            return True
        if self.gap(team.rear(), place) > max(self.max_queue_size, team.world_size):
            return True
        if self.indexed or place[0] in self.lengths:
            return False
        whole = (place[0], place[1] + team.world_size)
        return whole > self.reached and (self.end is None or whole <= self.end)  # beyond the end is only an error

    # -- what is wanted -----------------------------------------------------------------------------------------

    def wants(self, entry: Entry) -> bool:
        """Whether some group that counts has yet to take something of an entry, soon enough to keep it."""
        position, count, share = entry.position, entry.count, self._share
        if count == 1:
            return self.wanted(position)
        if self._picky:
            return any(map(self.wanted, entry.positions()))
        for group in self._single:
            at = group.cursor
            if at < entry.follower and (self.gap(at, position) < share or not self.indexed):
                return True
            if group.redeliver and group.owes(position, share if self.indexed else FAR, count):
                return True
        return False

    def wanted(self, position: Position) -> bool:
        """Whether some group that counts has yet to take a position, soon enough to keep its batch."""
        share, (epoch, index) = self._share, position
        for group in self._single:
            at = group.cursor
            ahead = index - at[1] if epoch == at[0] else self.gap(at, position)
            if ahead >= 0 and (ahead < share or not self.indexed) and position not in group.taken:
                return True
            if group.redeliver and group.owes(position, share if self.indexed else FAR):
                return True
        for team in self._crews:
            for lane in team.takers(position):
                at = lane.cursor
                ahead = index - at[1] if epoch == at[0] else self.gap(at, position)
                if ahead >= 0 and (ahead < share or not self.indexed) and self.takes(lane, position):
                    return True
            if self.may_stand_in(team, epoch, index) and self.given_instead(team, position):
                return True
        return False

    def may_stand_in(self, team: Team, epoch: int, index: int) -> bool:
        """Whether an index is one that ranks are given instead of another: as a pad, or for one that is skipped."""
        return (index < team.world_size and team.tail == "pad") or epoch in self.skipped

    def given_instead(self, team: Team, position: Position) -> list[Lane]:
        """The lanes that are soon given a batch instead of another."""
        epoch, index = team.rear()
        near = self._share + 2 * team.world_size + max(self.max_queue_size, team.world_size)  # so far `apart` lets go
        if position[0] == epoch and epoch not in self.skipped and index + near < self.lengths.get(epoch, FAR):
            return []  # no lane is near the end, and there may be thousands of them
        lanes = (lane for lane in team.lanes.values() if lane.cursor[0] == position[0])
        return [lane for lane in lanes if position in self.extras(lane)]

    def extras(self, lane: Lane) -> list[Position]:
        """What a lane wants besides what follows its cursor: pads, and what stands in for what is skipped."""
        epoch, index = lane.cursor
        length = self.lengths.get(epoch, FAR)
        if index + self._share + lane.stride < length and epoch not in self.skipped:
            return []
        end = self.end_of(lane, epoch)
        at = self.real(lane, lane.cursor)
        found = [at] if at != lane.cursor and index < end else []
        last = end - lane.stride + lane.rank
        if last >= length and 0 < last - index < self._share:
            found.append(self.real(lane, (epoch, last)))
        return found

    def owing(self, group: Group) -> list[Position]:
        """What a group is to be given again soon; what is made for that is bounded like all else."""
        again = group.redeliver
        if again and again[-1][0] > group.cursor[0]:  # by one that came back, held it, and left: its epoch comes later
            again = [position for position in again if position[0] <= group.cursor[0]]
        return again[: self._share] if self.indexed else again

    def sweep(self) -> None:
        """Look at every entry again, because a group came, left, stopped or jumped, or because its share is less."""
        for group in self._single:
            group.planned = group.cursor
        for team in self._crews:
            team.planned = team.first()
        for entry in self.window.distinct():
            self.window.want(entry, self.wants(entry))

    def carve(self, entry: Entry, first: int, count: int) -> None:
        """Have an ordered run cover just `count` positions from index `first` on; what nobody wants is dropped."""
        for part in (*self.window.carve(entry, first, count), entry):
            if part.wanted:
                self.window.want(part, self.wants(part))

    def _unplan(self, position: Position) -> None:
        for group in self.holders:
            if group.cursor <= position < group.planned:
                group.planned = position

    def awaited(self) -> set[Position]:
        """The positions of the batches that groups stand at, or are to be given again soon."""
        return {at for group in self.holders for at in (self.real(group, group.cursor), *self.owing(group))}

    def spare(self) -> list[Entry]:
        """The ready batches that may be evicted, those needed last first: nobody stands at them or holds them."""
        if not self.indexed:
            return []
        at = {self.window.entries.get(self.real(group, group.cursor)) for group in self.holders}
        entries = sorted(self.window.distinct(), key=lambda entry: entry.position, reverse=True)
        return [e for e in entries if e.state == READY and not e.uses and e not in at]

    def evict(self, entries: Iterable[Entry]) -> None:
        """Drop ready batches, to make room for one that is needed first; they are made again when there is room."""
        for entry in entries:
            self._unplan(entry.position)
            self.window.want(entry, False)


def _cursor(group: Group) -> Position:
    return group.cursor
