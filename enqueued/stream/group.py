"""Who takes from a stream: groups, their members, and the leases that members hold."""

from __future__ import annotations

import heapq
from collections import deque

from enqueued.batch import Position
from enqueued.stream.window import Entry


class Lease:
    """One batch in a member's hands, until it is both done (acknowledged) and released (its memory given back)."""

    __slots__ = ("done", "entry", "number", "released")

    def __init__(self, number: int, entry: Entry) -> None:
        self.number = number
        self.entry = entry
        self.done = False
        self.released = False


class Member:
    """One client of a group; it may hold up to `credit` leases."""

    __slots__ = ("credit", "delivered", "group", "last_delivery_s", "leases", "name", "next_lease", "over")

    def __init__(self, name: str, group: Group, now: float) -> None:
        self.name = name
        self.group = group
        self.credit = 0
        self.leases: dict[int, Lease] = {}
        self.next_lease = 0
        self.delivered = 0
        self.last_delivery_s = now
        self.over = False
        """Whether it was told that the stream is over."""

    @property
    def hungry(self) -> bool:
        """Whether it may be given another batch."""
        return len(self.leases) < self.credit


class Group:
    """A set of members that see each position once between them; `cursor` is the next position to deliver.

    `planned` is a position from the cursor on up to which every position is in the window: where planning goes on.
    """

    __slots__ = ("cursor", "delivered", "generation", "last_delivery_s", "members", "name", "planned", "private",
                 "redeliver", "redelivered", "repeated_below", "turn")  # fmt: skip

    def __init__(self, name: str, private: bool, cursor: Position, now: float) -> None:
        self.name = name
        self.private = private
        self.cursor = cursor
        self.planned = cursor
        self.generation = 0
        self.members: dict[str, Member] = {}
        self.turn: deque[Member] = deque()
        """Members in the order in which they are served."""
        self.redeliver: list[Position] = []
        """A heap of positions that a departed member held."""
        self.repeated_below: Position = (0, 0)
        """Positions below this may have been delivered by a daemon that is gone, so they are marked as redelivered."""
        self.delivered = 0
        self.redelivered = 0
        self.last_delivery_s = now

    def hungry_member(self) -> Member | None:
        """The member that has waited longest for its turn and may be given a batch."""
        for _ in range(len(self.turn)):
            member = self.turn[0]
            self.turn.rotate(-1)
            if member.hungry:
                return member
        return None

    def holding(self) -> bool:
        """Whether some member holds a batch that is not acknowledged."""
        return any(not lease.done for member in self.members.values() for lease in member.leases.values())

    def take_back(self, position: Position) -> None:
        """Put a position that a departed member held in line for another member."""
        heapq.heappush(self.redeliver, position)

    def hungry(self) -> bool:
        """Whether some member may be given a batch."""
        return any(member.hungry for member in self.members.values())
