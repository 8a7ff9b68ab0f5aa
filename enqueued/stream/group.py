"""Who takes from a stream: groups, their members, and the leases that members hold."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import TYPE_CHECKING

from enqueued.batch import Position
from enqueued.stream.window import Entry

if TYPE_CHECKING:
    from enqueued.stream.team import Team


class Lease:
    """Batches in a member's hands, each until it is both done (acknowledged) and released (its memory given back).

    It covers `count` numbers from `number` on, for positions from `position` on: that is the group's own, and for a pad
    beyond the epoch's end. `done` and `released` have a bit for each.
    """

    __slots__ = ("count", "done", "entry", "full", "number", "position", "released")

    def __init__(self, number: int, entry: Entry, position: Position, count: int = 1) -> None:
        self.number = number
        self.entry = entry
        self.position = position
        self.count = count
        self.full = (1 << count) - 1
        self.done = 0
        self.released = 0

    def is_released(self, number: int) -> bool:
        """Whether the memory of one of its numbers was given back."""
        return bool(self.released >> (number - self.number) & 1)

    def unacknowledged(self) -> list[Position]:
        """The positions that are not done."""
        epoch, index = self.position
        return [(epoch, index + n) for n in range(self.count) if not self.done >> n & 1]


class Member:
    """One client of a group; it may hold up to `credit` leases."""

    __slots__ = (
        "acked", "credit", "delivered", "group", "last_delivery_s", "leases", "name", "next_lease", "over", "returned"
    )  # fmt: skip

    def __init__(self, name: str, group: Group, now: float) -> None:
        self.name = name
        self.group = group
        self.credit = 0
        self.leases: dict[int, Lease] = {}
        """By each number that it holds."""
        self.next_lease = 0
        self.delivered = 0
        self.acked = 0
        """How many leases it has acknowledged."""
        self.last_delivery_s = now
        self.over = False
        """Whether it was told that the stream is over."""
        self.returned = False
        """Whether its group knows what it had before the daemon was restarted."""

    @property
    def hungry(self) -> bool:
        """Whether it may be given another batch."""
        return len(self.leases) < self.credit

    def unacknowledged(self) -> list[Position]:
        """The positions that it holds and has not acknowledged."""
        return [position for lease in self.held() for position in lease.unacknowledged()]

    def held(self) -> list[Lease]:
        """Its leases, each once."""
        return list(dict.fromkeys(self.leases.values()))


class Group:
    """A set of members that see each position once between them; `cursor` is the next position to deliver.

    `planned` is a position from the cursor on up to which every position that it takes is in the window: where planning
    goes on. A lane (in `team.py`) takes every `stride`-th position from its `rank` on, counted from `base`.
    """

    __slots__ = ("back", "base", "cursor", "delivered", "expected", "generation", "held_until", "last_delivery_s",
                 "members", "most", "name", "origin", "planned", "private", "rank", "redeliver", "redelivered",
                 "repeated_below", "stride", "suspects", "taken", "team", "turn", "written")  # fmt: skip

    def __init__(self, name: str, private: bool, cursor: Position, now: float, team: Team | None = None) -> None:
        self.name = name
        self.team = team
        self.private = private
        """Whether it has one member only, which may move it."""
        self.cursor = cursor
        self.planned = cursor
        self.generation = 0
        self.members: dict[str, Member] = {}
        self.turn: deque[Member] = deque()
        """Members in the order in which they are served."""
        self.redeliver: list[Position] = []
        """The positions that a departed member held, in order."""
        self.taken: set[Position] = set()
        """Positions beyond the cursor that were delivered out of order."""
        self.repeated_below: Position = (0, 0)
        """Positions below this may have been delivered before, so they are marked as redelivered."""
        self.suspects = 0
        """How many deliveries to come are marked, because a daemon that is gone may have made them."""
        self.delivered = 0
        self.redelivered = 0
        self.last_delivery_s = now
        # a lane
        self.rank = 0
        self.stride = 1
        self.base: Position = (0, 0)
        self.origin: Position | None = None
        """The saved position from which its members go on, if there is one."""
        # what the state file knows
        self.most: int | None = None
        """It may have delivered so many, lest a crash makes more repeated than can be marked."""
        self.written = 0
        """How many it had delivered when the state file was last written."""
        self.held_until = 0.0
        """Until then it waits for members that it had before the daemon was restarted."""
        self.expected = 0
        self.back = 0
        """How many of the `expected` members have come back."""

    def first(self, epoch: int) -> Position:
        """Where it begins an epoch that follows."""
        return epoch, self.rank

    def base_in(self, epoch: int) -> int:
        """The index from which the steps of an epoch count."""
        return self.base[1] if epoch == self.base[0] else 0

    def place(self, position: Position) -> Position:
        """Where the step begins to which one of its positions belongs."""
        return position[0], position[1] - self.rank

    def hungry_member(self) -> Member | None:
        """The member that has waited longest for its turn and may be given a batch."""
        turn = self.turn
        for _ in self.members:
            member = turn[0]
            turn.rotate(-1)
            if len(member.leases) < member.credit:
                return member
        return None

    def holding(self) -> bool:
        """Whether some member holds a batch that is not acknowledged."""
        return any(lease.done != lease.full for member in self.members.values() for lease in member.leases.values())

    def unacknowledged(self) -> list[Position]:
        """The positions before the cursor that nobody has acknowledged, in order."""
        held = (position for member in self.members.values() for position in member.unacknowledged())
        return sorted({*self.redeliver, *held})

    def standing(self) -> tuple[Position, list[Position]]:
        """A position, and what is missing before it: all else before it is acknowledged, nothing after it delivered."""
        epoch, index = self.cursor
        taken = [position[1] for position in self.taken if position[0] == epoch]
        stop = max(taken, default=index - 1) + 1
        gaps = {(epoch, n) for n in range(index, stop)} - self.taken
        return (epoch, stop), sorted({*self.unacknowledged(), *gaps})

    def take_back(self, position: Position) -> None:
        """Put a position that a departed member held in line for another member."""
        insort(self.redeliver, position)

    def owes(self, position: Position, most: int, count: int = 1) -> bool:
        """Whether one of `count` positions is one of the first `most` to deliver again."""
        at = bisect_left(self.redeliver, position)
        stop = (position[0], position[1] + count)
        return at < most and at < len(self.redeliver) and self.redeliver[at] < stop

    def repay(self, position: Position) -> None:
        """A position that it owes is delivered again."""
        del self.redeliver[bisect_left(self.redeliver, position)]

    def hungry(self) -> bool:
        """Whether some member may be given a batch."""
        return any(member.hungry for member in self.members.values())

    def go(self, cursor: Position) -> None:
        """Set the cursor."""
        self.cursor = cursor

    def step(self) -> None:
        """Move the cursor on over what was taken before its turn."""
        while self.cursor in self.taken:
            self.taken.remove(self.cursor)
            self.cursor = (self.cursor[0], self.cursor[1] + 1)
