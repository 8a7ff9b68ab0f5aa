"""One client's session: what is under way to it."""

from __future__ import annotations

from typing import Any

from enqueued.arena.segment import SMALL, Slot
from enqueued.arena.table import SegmentTable
from enqueued.pool.feed import Feed
from enqueued.server.endpoint import Endpoint
from enqueued.server.outbox import Outbox
from enqueued.stats import MemberStats
from enqueued.stream.decisions import Decision, Deliver, EndEpoch
from enqueued.stream.group import Member
from enqueued.wire.hello import Hello
from enqueued.wire.messages import BATCHES, END, ERROR, FRAME, MOST_TOGETHER, OVER, PADDED, REDELIVERED, TICKET, pack

_ALONE = 64 * 1024
"""A frame of this many bytes does not wait for others: each goes in a message of its own."""
_MOST_TEXT = 128 * 1024
"""Errors of so many characters do not wait for more: a message has a bound, and an error may be long."""


class Session:
    """A member of a stream, and the way to it. `frames` says that it is served by socket instead of shared memory."""

    def __init__(self, number: int, endpoint: Endpoint, peer: bytes, connection: int, hello: Hello, feed: Feed) -> None:
        self.name = f"client {number}"
        self.endpoint = endpoint
        self.peer = peer
        self.connection = connection
        self.token = hello.token
        self.hello = hello
        self.feed = feed
        self.frames = hello.token is None
        self.outbox = Outbox(endpoint, peer)
        self.stable = 0
        """How many of its acknowledgements it knows to be on disk."""
        self.held: list[int] = []
        """Leases whose slots its arrays still lie in after BYE."""
        self._items: list[list[Any]] = []
        self._views: list[memoryview] = []
        self._leases: list[tuple[int, int]] = []
        self._text = 0
        self.forget: list[int] = []
        """Segments that it is to unmap."""

    def put(self, decision: Decision, table: SegmentTable) -> bool:
        """Put a decision in line for this client; False when it turned out to be gone."""
        if isinstance(decision, Deliver):
            flags = REDELIVERED * decision.redelivered + PADDED * decision.padded
            head = [decision.lease, decision.generation, *decision.position, flags]
            if decision.error is not None:
                self._items.append([ERROR, *head, decision.error])
                self._text += sum(map(len, decision.error.values()))
                if self._text >= _MOST_TEXT:
                    return self.flush()
            elif self.frames:
                slot: Slot = decision.slot
                self._items.append([FRAME, *head, slot.cells, slot.step])
                self._views.append(table.view(slot))
                self._leases.append((decision.lease, slot.cells))
                if self._views[-1].nbytes >= _ALONE:
                    return self.flush()
            elif not (self._items and _goes_on(self._items[-1], head, decision.slot)):
                self._items.append([TICKET, *head, *decision.slot, decision.slot.step])
        elif isinstance(decision, EndEpoch):
            self._items.append([END, decision.generation, decision.epoch, decision.length])
        else:
            self._items.append([OVER, decision.generation])
        return True

    def flush(self) -> bool:
        """Send what is in line as one message; False when the client is gone or does not read."""
        if not self._items and not self.forget:
            return True
        items, forget, views, leases = self._items, self.forget, self._views, self._leases
        self._items, self.forget, self._views, self._leases, self._text = [], [], [], [], 0
        if self.frames:
            return self.outbox.put(items, views, leases)
        return self.endpoint.send(self.peer, pack(BATCHES, items, forget)) is not None

    def settle(self) -> None:
        """Give back the slots whose frames the kernel has taken, or which were compressed."""
        if leases := self.outbox.settle():
            self.feed.stream.release(self.name, leases)

    @property
    def pinned(self) -> list[int]:
        """Leases whose memory is still read to send it."""
        return [number for first, count in self.outbox.pinned for number in range(first, first + count)]

    def describe(self, member: Member, now: float) -> MemberStats:
        """A snapshot."""
        return MemberStats(
            name=self.name,
            pid=self.hello.pid,
            host=self.hello.host,
            transport="frames" if self.frames else "slots",
            credit=member.credit,
            leases=len(member.leases),
            delivered=member.delivered,
            waiting_s=now - member.last_delivery_s if member.hungry else 0.0,
            compression=self.outbox.compression,
        )


def _goes_on(item: list[Any], head: list[int], slot: Slot) -> bool:
    """Make a ticket longer by batches that follow those that it stands for, in all that it says; whether they do."""
    if item[0] != TICKET or slot.nbytes >= SMALL:
        return False
    lease, generation, epoch, index, flags = head
    count, step = item[9], item[10]
    if item[1:6] != [lease - count, generation, epoch, index - count, flags] or count + slot.cells > MOST_TOGETHER:
        return False
    if item[6:9] != [slot.segment, slot.offset - count * step, slot.nbytes]:
        return False
    item[9] = count + slot.cells
    return True
