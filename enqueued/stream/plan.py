"""What to make next: the part of the core that looks ahead.

What queues is bounded by `max_queue_size`, plus one for each group that the window waits for (the rearmost of a cohort
is given its next batch even when the others' batches fill the queue), what departed members gave back, pads and what
stands in for skipped batches, what was still in others' or the workers' hands when a group began or came back behind
them, and what a group has passed of the run that it is in, which is kept whole.
"""

from __future__ import annotations

import heapq

from enqueued.batch import Position
from enqueued.stream.group import Group
from enqueued.stream.places import FAR, NEAR_EPOCHS
from enqueued.stream.wants import Wants
from enqueued.stream.window import ORDERED, WAITING

_PARTS = 8
"""A stretch is at most this part of what may be made ahead, for as a run it is kept whole."""

Stretch = tuple[int, int, int]
"""Neighbours in an epoch: `(epoch, first, count)`."""


class Plan(Wants):
    """The positions that are worth making, and what of these is made already."""

    reorder_window = 0

    def __init__(self, *, indexed: bool, max_queue_size: int, lag_timeout_s: float, now: float) -> None:
        super().__init__(indexed=indexed, max_queue_size=max_queue_size, lag_timeout_s=lag_timeout_s, now=now)
        self.asked: set[int] = set()
        """Epochs whose opening was asked for and has not been answered."""
        self.again: list[Position] = []
        """A heap of positions whose worker died."""
        self.together = 1
        """How many neighbours are ordered as a stretch; so many less one may be missing from a queue that is full."""
        self._to_open: list[int] = []

    # -- orders -------------------------------------------------------------------------------------------------

    def orders(self, most: int, together: int = 1) -> list[Stretch]:
        """Up to `most` positions to make now, the most urgent first; each is ordered once.

        They come as stretches `(epoch, first, count)` of up to `together` neighbours. Where all groups have half of the
        look-ahead before them there has to be room for a whole one, for a short one costs as much.
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
        self.together = 1 if single else max(1, min(together, self._share // _PARTS))
        for n, group in enumerate(cohorts):
            most -= self._look_ahead(group, -(-most // (len(cohorts) - n)), orders)
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

    def _look_ahead(self, group: Group, most: int, orders: list[Stretch]) -> int:
        """Order up to `most` positions for a group, and those near it; how many it were."""
        entries, left, together, passed = self.window.entries, most, self.together, self._passed(group)
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
                free = self.limit - self.window.queued + passed
                if left <= 0 or (free <= 0 and self.gap(group.cursor, position) >= least):
                    break
                if together > 1:
                    most_now = min(together, left, room, free)
                    if most_now < together and self._stocked(position):
                        break
                    count = self._stretch(position, most_now)
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

    def _passed(self, group: Group) -> int:
        """How many batches count as queued that nobody will take: of the run in which the rearmost group is."""
        entry = self.window.entries.get(group.cursor)
        return 0 if entry is None else group.cursor[1] - entry.position[1]

    def _stocked(self, position: Position) -> bool:
        """Whether every group that comes to a position has half of the look-ahead before it, and can wait."""
        half = self._share // 2
        return all(self.gap(group.cursor, position) >= half for group in self.holders if group.cursor <= position)

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
                self.carve(entry, start[1], entry.follower[1] - start[1])
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
