"""What to make next: the part of the core that looks ahead.

Groups that stand within `max_queue_size` of each other form a cohort and share one look-ahead, so that a position is
made once for all of them; the leader waits at the edge. Cohorts that are further apart divide the queue between them.

What queues is bounded by `max_queue_size`, plus one for each group that the window waits for (the rearmost of a cohort
is given its next batch even when the others' batches fill the queue), what departed members gave back, pads and what
stands in for skipped batches, and what was still in others' or the workers' hands when a group began or came back
behind them.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable

from enqueued.batch import Position
from enqueued.stream.group import Group
from enqueued.stream.places import FAR, NEAR_EPOCHS, Places
from enqueued.stream.team import Lane, Team
from enqueued.stream.window import ORDERED, READY, WAITING, Entry

_PARTS = 8
"""A run of batches that are ordered together is at most this part of what may be made ahead, for it is kept whole."""

Stretch = tuple[int, int, int]
"""Neighbours in an epoch: `(epoch, first, count)`."""


class Plan(Places):
    """The groups whose positions are worth making, and what of these is made already."""

    reorder_window = 0

    def __init__(self, *, indexed: bool, max_queue_size: int, lag_timeout_s: float, now: float) -> None:
        super().__init__(indexed=indexed)
        self.max_queue_size = max_queue_size
        self.limit = max_queue_size
        """How many batches may queue now: `max_queue_size`, or fewer when memory is short."""
        self.lag_timeout_s = lag_timeout_s
        self.now = now
        self.asked: set[int] = set()
        """Epochs whose opening was asked for and has not been answered."""
        self.groups: dict[str, Group] = {}
        """All groups; of a team its lanes."""
        self.teams: dict[str, Team] = {}
        self.idle = Group("", True, (0, 0), now)
        """Stands in when there is no group, so that the first positions are ready for the next one."""
        self.holders: dict[Group, None] = {self.idle: None}
        """The groups that the window is kept for."""
        self.again: list[Position] = []
        """A heap of positions whose worker died."""
        self._share = max_queue_size
        self._single: list[Group] = [self.idle]
        """Those of the holders that are no lanes."""
        self._crews: list[Team] = []
        """The teams of the others."""
        self._picky = False
        """Whether some holder takes less than everything that follows its cursor."""
        self._to_open: list[int] = []

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
        """The smallest share: one batch, or a step of all ranks where the source cannot say whether a step is whole."""
        if self.indexed:
            return 1
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

    # -- orders -------------------------------------------------------------------------------------------------

    def orders(self, most: int, together: int = 1) -> list[Stretch]:
        """Up to `most` positions to make now, the most urgent first; each is ordered once.

        They come as stretches `(epoch, first, count)` of up to `together` neighbours.
        """
        orders: list[Stretch] = []
        entries = self.window.entries
        while self.again and len(orders) < most:
            position = heapq.heappop(self.again)
            entry = entries.get(position)
            if entry is not None and entry.state == WAITING and entry.wanted:
                entry.state = ORDERED
                orders.append((*position, 1))
        if self.indexed:
            for group in self._single:
                if group.redeliver:
                    self._order_also(self.owing(group), most, orders)
            for team in self._crews:
                if self.skipped or team.tail == "pad":
                    for lane in team.lanes.values():
                        self._order_also(self.extras(lane), most, orders)
        most -= len(orders)
        cohorts = self._set_share()
        single = self._picky or self.reorder_window or not self.indexed
        together = 1 if single else max(1, min(together, self._share // _PARTS))
        for n, group in enumerate(cohorts):
            most -= self._look_ahead(group, -(-most // (len(cohorts) - n)), together, orders)
        return orders

    def _order_also(self, positions: list[Position], most: int, orders: list[Stretch]) -> None:
        for n, position in enumerate(positions):
            entry = self.window.entries.get(position)
            if entry is not None:
                self.window.want(entry, True)
            elif position[0] not in self.lengths:
                self._ask(position[0])
            elif len(orders) < most and (n == 0 or self.window.queued < self.limit):
                self.window.add(position)
                orders.append((*position, 1))

    def _look_ahead(self, group: Group, most: int, together: int, orders: list[Stretch]) -> int:
        """Order up to `most` positions for a group, and those near it; how many it were."""
        entries, left = self.window.entries, most
        epoch, index = max(group.planned, group.cursor) if self.indexed else self.head
        room = self._share - self.gap(group.cursor, (epoch, index))
        least, picky, length = self._least(), self._picky, self.lengths.get(epoch)
        while room > 0 and epoch - group.cursor[0] <= NEAR_EPOCHS:
            if length is None and self.indexed:
                own = group.cursor if group.cursor[0] == epoch else group.first(epoch)
                if (epoch, index) not in entries and own not in entries:  # else the last try's error is taken first
                    self._ask(epoch)
                break
            if length is not None and index >= length:
                epoch, index, length = epoch + 1, 0, self.lengths.get(epoch + 1)
                continue
            position = (epoch, index)
            if self.end is not None and position >= self.end:
                break
            entry, count = entries.get(position), 1
            if entry is not None:
                if not entry.wanted and (not picky or self.wanted(position)):
                    self.window.want(entry, True)
                if entry.count > 1 and not picky:
                    count = entry.follower[1] - index
            elif not picky or not self.indexed or self.wanted(position):
                free = self.limit - self.window.queued
                if left <= 0 or (free <= 0 and self.gap(group.cursor, position) >= least):
                    break
                if together > 1:
                    count = self._stretch(position, min(together, left, room, free))
                entry = self.window.add(position, count)
                orders.append((epoch, index, count))
                left -= count
                if not self.indexed:
                    self.head = (epoch, index + 1)
                    self.window.want(entry, not picky or self.wanted(position))
            index += count
            room -= count
        group.planned = (epoch, index)
        return most - left

    def _stretch(self, position: Position, most: int) -> int:
        """How many positions from one on can be ordered together: at least that one."""
        (epoch, index), entries, count = position, self.window.entries, 1
        stop = self.end[1] if self.end is not None and self.end[0] == epoch else FAR
        most = min(most, min(stop, self.lengths[epoch]) - index)
        if entries.keys().isdisjoint([(epoch, n) for n in range(index + 1, index + most)]):
            return max(1, most)
        while count < most and (epoch, index + count) not in entries:
            count += 1
        return count

    # -- epochs -------------------------------------------------------------------------------------------------

    def _ask(self, epoch: int) -> None:
        if epoch not in self.asked:
            self.asked.add(epoch)
            self._to_open.append(epoch)

    def openings(self) -> list[int]:
        """Epochs that have to be opened, so that their length is known; each is asked for once."""
        opening, self._to_open = self._to_open, []
        return opening

    def learn_length(self, epoch: int, length: int) -> None:
        """The length of an epoch is known now."""
        self.asked.discard(epoch)
        self.lengths[epoch] = length
        for group in self.groups.values():  # an epoch that was loaded anew may have become shorter
            if group.redeliver and group.redeliver[-1] >= (epoch, length):
                group.redeliver = [p for p in group.redeliver if p[0] != epoch or p[1] < length]
            if group.taken:
                group.taken = {p for p in group.taken if p[0] != epoch or p[1] < length}
        # what stands in an indexed epoch that was not open is the error of an earlier try
        self.cut((epoch, 0 if self.indexed else length), (epoch + 1, 0))
        if not self.indexed and self.head[0] == epoch:
            self.head = (epoch + 1, 0)
        self.skipped = {old: indices for old, indices in self.skipped.items() if old in self.epochs_in_use()}
        if self._picky:  # what an incomplete step has left over is wanted no more
            self.sweep()

    def cut(self, start: Position, stop: Position = (FAR, 0)) -> None:
        """Take back the orders from `start` up to `stop`: those positions do not exist."""
        for entry in self.window.distinct():
            if entry.position < start < entry.follower and entry.state == ORDERED and start[0] == entry.position[0]:
                self.window.carve(entry, start[1], entry.follower[1] - start[1])
            if start <= entry.position < stop:
                if entry.state == ORDERED:
                    entry.state = WAITING
                self.window.want(entry, False)

    def epochs_in_use(self) -> set[int]:
        """Epochs that some group is at, or is being looked ahead into."""
        groups = self.groups.values() or [self.idle]
        return {epoch for g in groups for epoch in (g.cursor[0], max(g.planned, g.cursor)[0])} | {
            entry.position[0] for entry in self.window.entries.values() if entry.state in (ORDERED, WAITING)
        }


def _cursor(group: Group) -> Position:
    return group.cursor
