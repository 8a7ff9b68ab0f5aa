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
from enqueued.stream.window import GONE, ORDERED, READY, WAITING, Entry, Window

FAR = 1 << 62
"""A distance that is more than any window."""

_NEAR_EPOCHS = 64


class Plan:
    """The window, the known epoch lengths, and the groups whose positions are worth making."""

    def __init__(self, *, indexed: bool, max_queue_size: int, lag_timeout_s: float, now: float) -> None:
        self.indexed = indexed
        self.max_queue_size = max_queue_size
        self.limit = max_queue_size
        """How many batches may queue now: `max_queue_size`, or fewer when memory is short."""
        self.lag_timeout_s = lag_timeout_s
        self.now = now
        self.window = Window()
        self.lengths: dict[int, int] = {}
        self.asked: set[int] = set()
        """Epochs whose opening was asked for and has not been answered."""
        self.groups: dict[str, Group] = {}
        self.idle = Group("", True, (0, 0), now)
        """Stands in when there is no group, so that the first positions are ready for the next one."""
        self.holders = [self.idle]
        """The groups that the window is kept for."""
        self.again: list[Position] = []
        """A heap of positions whose worker died."""
        self.head: Position = (0, 0)
        """The next position of a streamed source that was never ordered."""
        self.end: Position | None = None
        self.skipped: dict[int, set[int]] = {}
        """By epoch the indices that cannot be made and are to be left out."""
        self.reached: Position = (0, 0)
        """What follows all that a streamed source has given."""
        self._share = max_queue_size
        self._picky = False
        """Whether some group that counts takes less than everything that follows its cursor."""
        self._to_open: list[int] = []

    # -- distances ----------------------------------------------------------------------------------------------

    def gap(self, a: Position, b: Position) -> int:
        """How many batches lie from `a` up to `b`; negative when `b` is behind, `FAR` when that is not known."""
        if a[0] == b[0]:
            return b[1] - a[1]
        if a[0] > b[0]:
            return -self.gap(b, a)
        if b[0] - a[0] > _NEAR_EPOCHS:
            return FAR
        total = b[1]
        for epoch in range(a[0], b[0]):
            length = self.lengths.get(epoch)
            if length is None:
                return FAR
            total += length
        return total - min(a[1], self.lengths[a[0]])  # a group may begin beyond its epoch's end

    def oldest(self) -> Position:
        """The oldest position from which on a streamed source can still give everything."""
        oldest = self.head
        for position in sorted(self.window.entries, reverse=True):
            if self.gap(position, oldest) != 1 or self.window.entries[position].state == GONE:
                break
            oldest = position
        return oldest

    def live(self) -> Position:
        """Where the rearmost of the groups stands that the window is kept for, if that can still be given."""
        rear = min(group.cursor for group in self.holders)
        return rear if self.indexed else max(rear, self.oldest())

    def gone(self, position: Position) -> bool:
        """Whether a streamed source has passed a position and nobody kept it."""
        return not self.indexed and position < self.head and position not in self.window.entries

    # -- what a lane takes --------------------------------------------------------------------------------------

    def end_of(self, group: Group, epoch: int) -> int:
        """The index at which an epoch ends for a group: for a lane, after as many steps as every rank has."""
        length = self.lengths.get(epoch, FAR)
        team = group.team
        if team is None or length == FAR:
            return length
        base = group.base_in(epoch)
        rest, size = max(0, length - base), team.world_size
        return base + (rest // size if team.tail == "drop" else -(-rest // size)) * size

    def real(self, group: Group, position: Position) -> Position:
        """The position of the batch that a group is given at one of its own.

        For a lane, a pad repeats the epoch's start, and the first batch that can be made stands in for one that is
        skipped.
        """
        if group.team is None:
            return position
        epoch, index = position
        length = self.lengths.get(epoch, FAR)
        if index >= length:
            index = (index - length) % length
        skipped = self.skipped.get(epoch)
        if skipped and index in skipped:
            index = next((n for n in range(length) if n not in skipped), index)
        return epoch, index

    def takes(self, group: Group, position: Position) -> bool:
        """Whether a position that is not before a group's cursor is one that it will be given there."""
        if group.team is None:
            return position not in group.taken
        epoch, index = position
        ahead = index - group.base_in(epoch) - group.rank
        return ahead >= 0 and ahead % group.stride == 0 and index < self.end_of(group, epoch)

    def extras(self, group: Group) -> list[Position]:
        """What a group wants besides what follows its cursor: deliveries to repeat, pads, what stands in for others."""
        if group.team is None:
            return group.redeliver
        epoch, index = group.cursor
        end = self.end_of(group, epoch)
        at = self.real(group, group.cursor)
        found = [at] if at != group.cursor and index < end else []
        last = end - group.stride + group.rank
        if last >= self.lengths.get(epoch, FAR) and 0 < last - index < self._share:
            found.append(self.real(group, (epoch, last)))
        return found

    def apart(self, group: Group, position: Position) -> bool:
        """Whether a lane has to wait with a position for another rank, or for the whole step to be there.

        Nothing is given before all ranks have come, and nothing beyond the step of one that has left; nobody is further
        ahead of another than the queue is long.
        """
        team = group.team
        if team is None:
            return False
        place, most = group.place(position), max(self.max_queue_size, team.world_size)
        for lane in team.lanes.values():
            if not lane.members:
                if place >= lane.place(lane.cursor):
                    return True
            elif lane is not group and self.gap(lane.place(lane.cursor), place) > most:
                return True
        if self.indexed or position[0] in self.lengths:
            return False
        whole = (place[0], place[1] + team.world_size)
        return whole > self.reached and (self.end is None or whole <= self.end)  # beyond the end is only an error

    # -- who counts ---------------------------------------------------------------------------------------------

    def next_kept(self, position: Position) -> Position:
        """Where a group goes on from a position that is gone: at the latest at the end of its epoch."""
        kept = min((p for p in self.window.entries if p > position), default=self.head)
        return min(kept, (position[0], self.lengths.get(position[0], FAR)))

    def waited_for(self) -> list[Group]:
        """The groups that the window waits for: not one that has stopped while others move."""
        return [g for g in self.groups.values() if not self.stopped(g)] or list(self.groups.values())

    def stopped(self, group: Group) -> bool:
        """Whether it has taken nothing for the lag time, and that is its own doing; ranks stop together."""
        if group.team is not None:
            return self.now - group.team.last_delivery_s > self.lag_timeout_s and group.team.idle
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
                self.idle.cursor = live
            self.holders = [self.idle]
        self._set_share()
        self.sweep()

    def _cohorts(self) -> list[Group]:
        """The rearmost group of each cohort."""
        if len(self.holders) == 1 or not self.indexed:
            return [min(self.holders, key=lambda g: g.cursor)]
        groups = sorted(self.holders, key=lambda g: g.cursor)
        return [groups[0]] + [
            group
            for before, group in itertools.pairwise(groups)
            if self.gap(before.cursor, group.cursor) > self.max_queue_size
        ]

    def _set_share(self) -> list[Group]:
        cohorts = self._cohorts()
        self._picky = any(group.team is not None or group.taken for group in self.holders)
        share = max(self._least(), self.limit // len(cohorts))
        if share < self._share:
            self._share = share
            self.sweep()
        self._share = share
        return cohorts

    def _least(self) -> int:
        """The smallest share: one batch, or a step of all ranks where the source cannot say whether a step is whole."""
        if self.indexed or not self._picky:
            return 1
        return max(group.stride for group in self.holders)

    def resize(self, limit: int) -> None:
        """Let at most `limit` batches queue, `max_queue_size` at most."""
        limit = max(1, min(limit, self.max_queue_size))
        if limit != self.limit:
            self.limit = limit
            self._set_share()

    # -- what is wanted -----------------------------------------------------------------------------------------

    def wanted(self, position: Position) -> bool:
        """Whether some group that counts has yet to take a position, soon enough to keep its batch."""
        for group in self.holders:
            ahead = self.gap(group.cursor, position)
            if (0 <= ahead < self._share or (ahead >= 0 and not self.indexed)) and (
                not self._picky or self.takes(group, position)
            ):
                return True
            if (group.redeliver or group.team is not None) and position in self.extras(group):
                return True
        return False

    def sweep(self) -> None:
        """Look at every entry again, because a group came, left, stopped or jumped, or because its share is less."""
        for group in self.holders:
            group.planned = group.cursor
        for entry in list(self.window.entries.values()):
            self.window.want(entry, self.wanted(entry.position))

    def _unplan(self, position: Position) -> None:
        for group in self.holders:
            if group.cursor <= position < group.planned:
                group.planned = position

    def spare(self) -> list[Entry]:
        """The ready batches that may be evicted, those needed last first: nobody stands at them or holds them."""
        if not self.indexed:
            return []
        cursors = {group.cursor for group in self.holders}
        entries = sorted(self.window.entries.values(), key=lambda entry: entry.position, reverse=True)
        return [e for e in entries if e.state == READY and not e.uses and e.position not in cursors]

    def evict(self, entries: Iterable[Entry]) -> None:
        """Drop ready batches, to make room for one that is needed first; they are made again when there is room."""
        for entry in entries:
            self._unplan(entry.position)
            self.window.want(entry, False)

    # -- orders -------------------------------------------------------------------------------------------------

    def orders(self, most: int) -> list[Position]:
        """Up to `most` positions to make now, the most urgent first; each is ordered once."""
        orders: list[Position] = []
        entries = self.window.entries
        while self.again and len(orders) < most:
            position = heapq.heappop(self.again)
            entry = entries.get(position)
            if entry is not None and entry.state == WAITING and entry.wanted:
                entry.state = ORDERED
                orders.append(position)
        for group in self.holders:
            if not self.indexed or (not group.redeliver and group.team is None):
                continue
            for position in self.extras(group):
                entry = entries.get(position)
                if entry is not None:
                    self.window.want(entry, True)
                elif position[0] not in self.lengths:
                    self._ask(position[0])
                elif len(orders) < most:
                    self.window.add(position)
                    orders.append(position)
        cohorts = self._set_share()
        for n, group in enumerate(cohorts):
            fair = -(-(most - len(orders)) // (len(cohorts) - n))
            self._look_ahead(group, len(orders) + fair, orders)
        return orders

    def _look_ahead(self, group: Group, most: int, orders: list[Position]) -> None:
        entries = self.window.entries
        epoch, index = max(group.planned, group.cursor) if self.indexed else self.head
        room = self._share - self.gap(group.cursor, (epoch, index))
        least = self._least()
        while room > 0 and epoch - group.cursor[0] <= _NEAR_EPOCHS:
            length = self.lengths.get(epoch)
            if length is None and self.indexed:
                own = group.cursor if group.cursor[0] == epoch else group.first(epoch)
                if (epoch, index) not in entries and own not in entries:  # else the last try's error is taken first
                    self._ask(epoch)
                break
            if length is not None and index >= length:
                epoch, index = epoch + 1, 0
                continue
            position = (epoch, index)
            if self.end is not None and position >= self.end:
                break
            entry = entries.get(position)
            desired = not self._picky or self.wanted(position)
            if entry is not None:
                if desired and not entry.wanted:
                    self.window.want(entry, True)
            elif desired or not self.indexed:
                full = self.window.queued >= self.limit and self.gap(group.cursor, position) >= least
                if len(orders) >= most or full:
                    break
                entry = self.window.add(position)
                orders.append(position)
                if not self.indexed:
                    self.head = (epoch, index + 1)
                    self.window.want(entry, desired)
            index += 1
            room -= 1
        group.planned = (epoch, index)

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
            if any(position[0] == epoch and position[1] >= length for position in group.redeliver):
                group.redeliver = sorted(p for p in group.redeliver if p[0] != epoch or p[1] < length)
        # what stands in an indexed epoch that was not open is the error of an earlier try
        self.cut((epoch, 0 if self.indexed else length), (epoch + 1, 0))
        if not self.indexed and self.head[0] == epoch:
            self.head = (epoch + 1, 0)
        self.skipped = {old: indices for old, indices in self.skipped.items() if old in self.epochs_in_use()}
        if self._picky:  # what an incomplete step has left over is wanted no more
            self.sweep()

    def cut(self, start: Position, stop: Position = (FAR, 0)) -> None:
        """Take back the orders from `start` up to `stop`: those positions do not exist."""
        for entry in [e for p, e in self.window.entries.items() if start <= p < stop]:
            if entry.state == ORDERED:
                entry.state = WAITING
            self.window.want(entry, False)

    def epochs_in_use(self) -> set[int]:
        """Epochs that some group is at, or is being looked ahead into."""
        groups = self.groups.values() or [self.idle]
        return {epoch for g in groups for epoch in (g.cursor[0], max(g.planned, g.cursor)[0])} | {
            entry.position[0] for entry in self.window.entries.values() if entry.state in (ORDERED, WAITING)
        }
