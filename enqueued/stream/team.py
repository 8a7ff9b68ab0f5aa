"""Who takes from a stream step by step: the ranks of a coordinated group."""

from __future__ import annotations

from collections.abc import Iterable

from enqueued.batch import Position
from enqueued.stream.group import Group


class Team:
    """The ranks of a coordinated group. Each rank has a lane, which is a group of one member, or of none."""

    __slots__ = ("_at_rear", "_base", "absent", "lanes", "last_delivery_s", "name", "origin", "planned", "slowest",
                 "stop", "tail", "waiting", "world_size")  # fmt: skip

    def __init__(
        self,
        name: str,
        world_size: int,
        tail: str,
        origin: Position | None,
        place: Position,
        base: Position,
        now: float,
    ) -> None:
        self.name = name
        self.world_size = world_size
        self.tail = tail
        self.origin = origin
        """The saved position from which all ranks go on, if there is one."""
        self.last_delivery_s = now
        self.planned = place
        """Where planning goes on for all lanes."""
        self.lanes = {rank: Lane(self, rank, place, base, now) for rank in range(world_size)}
        self.waiting: dict[Group, None] = {}
        """Lanes that could go on and wait for another rank."""
        self.absent = list(range(world_size))
        """The ranks that have not come yet, or have left."""
        self.stop: Position | None = place
        """The first step that has to wait for a rank that is not there."""
        self.slowest: Position | None = None
        """The step of the slowest rank, where that is known."""
        self._at_rear = 0
        self._base: Position | None = base

    @property
    def present(self) -> list[int]:
        """The ranks that are there."""
        return [rank for rank, lane in self.lanes.items() if lane.members]

    @property
    def idle(self) -> bool:
        """Whether it waits for a rank of its own: one that is not there, or one that takes nothing."""
        rear = self.rear()
        return rear == self.stop or not any(
            lane.hungry() for lane in self.lanes.values() if lane.place(lane.cursor) == rear
        )

    def rear(self) -> Position:
        """The step at which the slowest rank is. It is asked for with each batch, so it is found once for each step."""
        if self.slowest is None:
            places = [lane.place(lane.cursor) for lane in self.lanes.values()]
            self.slowest = min(places)
            self._at_rear = places.count(self.slowest)
        return self.slowest

    def first(self) -> Position:
        """The first position that some rank has yet to be given."""
        return min(lane.cursor for lane in self.lanes.values())

    def muster(self) -> None:
        """A rank came, left, or goes on elsewhere: see for whom the others wait, and from where all count."""
        self.absent = [rank for rank, lane in self.lanes.items() if not lane.members]
        self.stop = min((self.lanes[rank].place(self.lanes[rank].cursor) for rank in self.absent), default=None)
        self.slowest = None
        bases = {lane.base for lane in self.lanes.values()}
        odd = {base for base in bases if base[1]} or {(0, 0)}
        self._base = min(odd)
        if len(odd) > 1 or any(base[0] <= self._base[0] for base in bases - odd if self._base[1]):
            self._base = None  # some have gone elsewhere, and others have yet to follow

    def takers(self, position: Position) -> Iterable[Lane]:
        """The lanes among which is the one that takes a position: only that one, unless ranks count differently."""
        base = self._base
        if base is None:
            return self.lanes.values()
        epoch, index = position
        return (self.lanes[(index - (base[1] if epoch == base[0] else 0)) % self.world_size],)

    def moved(self) -> None:
        """A lane has left the slowest step. One that goes back is mustered."""
        self._at_rear -= 1
        if not self._at_rear:
            self.slowest = None


class Lane(Group):
    """What one rank takes: every `stride`-th position from its rank on; beyond the epoch's end lie the pads."""

    __slots__ = ()
    team: Team

    def __init__(self, team: Team, rank: int, place: Position, base: Position, now: float) -> None:
        super().__init__(f"{team.name}/{rank}", True, (place[0], place[1] + rank), now, team)
        self.rank, self.stride, self.base = rank, team.world_size, base

    @property
    def planned(self) -> Position:
        """Where planning goes on: for all ranks, because one rank's batches are no plan."""
        return self.team.planned

    @planned.setter
    def planned(self, position: Position) -> None:
        self.team.planned = position

    def go(self, cursor: Position) -> None:
        """Set the cursor."""
        before, self.cursor = self.cursor, cursor
        if (before[0], before[1] - self.rank) == self.team.slowest:
            self.team.moved()

    def rewind(self) -> None:
        """A lane whose member has left stands where that had not acknowledged; what is given again is marked."""
        self.repeated_below = max(self.repeated_below, self.cursor)
        self.go(min([self.cursor, *self.unacknowledged()]))
        self.planned = min(self.planned, self.cursor)
