"""What to make next: the part of the core that looks ahead.

Groups that stand within `max_queue_size` of each other form a cohort and share one look-ahead, so that a position is
made once for all of them; the leader waits at the edge. Cohorts that are further apart divide the queue between them.

What queues is bounded by `max_queue_size`, plus one for each group that the window waits for (the rearmost of a cohort
is given its next batch even when the others' batches fill the queue), what departed members gave back, and what
was still in others' or the workers' hands when a group began or came back behind them.
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
        self._share = max_queue_size
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

    def next_kept(self, position: Position) -> Position:
        """Where a group goes on from a position that is gone: at the latest at the end of its epoch."""
        kept = min((p for p in self.window.entries if p > position), default=self.head)
        return min(kept, (position[0], self.lengths.get(position[0], FAR)))

    # -- who counts ---------------------------------------------------------------------------------------------

    def waited_for(self) -> list[Group]:
        """The groups that the window waits for: not one that has stopped while others move."""
        return [g for g in self.groups.values() if not self.stopped(g)] or list(self.groups.values())

    def stopped(self, group: Group) -> bool:
        """Whether it has taken nothing for the lag time, and that is its own doing."""
        if self.now - group.last_delivery_s <= self.lag_timeout_s:
            return False
        return not group.hungry() or self.held_up(group)

    def held_up(self, group: Group) -> bool:
        """Whether a shared group is at an end, and some member holds a batch that is not acknowledged."""
        epoch, index = group.cursor
        at_end = index >= self.lengths.get(epoch, FAR) or (self.end is not None and group.cursor >= self.end)
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
        share = max(1, self.limit // len(cohorts))
        if share < self._share:
            self._share = share
            self.sweep()
        self._share = share
        return cohorts

    def resize(self, limit: int) -> None:
        """Let at most `limit` batches queue, `max_queue_size` at most."""
        limit = max(1, min(limit, self.max_queue_size))
        if limit != self.limit:
            self.limit = limit
            self._set_share()

    # -- what is wanted -----------------------------------------------------------------------------------------

    def wanted(self, entry: Entry) -> bool:
        """Whether some group that counts has yet to take this entry, soon enough to keep it."""
        position = entry.position
        for group in self.holders:
            ahead = self.gap(group.cursor, position)
            if 0 <= ahead < self._share or (ahead >= 0 and not self.indexed):
                return True
            if group.redeliver and position in group.redeliver:
                return True
        return False

    def sweep(self) -> None:
        """Look at every entry again, because a group came, left, stopped or jumped, or because its share is less."""
        for group in self.holders:
            group.planned = group.cursor
        for entry in list(self.window.entries.values()):
            self.window.want(entry, self.wanted(entry))

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
            for position in group.redeliver:
                if self.indexed and position not in entries and len(orders) < most:
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
        while room > 0 and epoch - group.cursor[0] <= _NEAR_EPOCHS:
            length = self.lengths.get(epoch)
            if length is None and self.indexed:
                if (epoch, index) not in entries:  # else the error of the last try stands there, to be taken first
                    self._ask(epoch)
                break
            if length is not None and index >= length:
                epoch, index = epoch + 1, 0
                continue
            position = (epoch, index)
            if self.end is not None and position >= self.end:
                break
            entry = entries.get(position)
            if entry is None:
                if len(orders) >= most or (self.window.queued >= self.limit and position != group.cursor):
                    break
                if not self.indexed:
                    self.head = (epoch, index + 1)
                self.window.add(position)
                orders.append(position)
            elif not entry.wanted:
                self.window.want(entry, True)
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
        # what stands in an indexed epoch that was not open is the error of an earlier try
        self.cut((epoch, 0 if self.indexed else length), (epoch + 1, 0))
        if not self.indexed and self.head[0] == epoch:
            self.head = (epoch + 1, 0)

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
