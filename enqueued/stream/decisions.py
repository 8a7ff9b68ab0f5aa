"""What the core decides for its clients; the server carries these out in the order in which they stand."""

from __future__ import annotations

from typing import Any, NamedTuple

from enqueued.batch import Position


class Deliver(NamedTuple):
    """Hand the batches in a slot, which are those from `position` on, or an error in the place of one, to this member.

    Their leases follow each other, and so do their places in the slot.
    """

    member: str
    lease: int
    generation: int
    position: Position
    slot: Any
    error: Any
    redelivered: bool
    padded: bool = False


class EndEpoch(NamedTuple):
    """Tell this member that it has been given all it will get of this epoch, which has `length` batches."""

    member: str
    generation: int
    epoch: int
    length: int


class Over(NamedTuple):
    """Tell this member that the stream has no further batches, ever."""

    member: str
    generation: int


Decision = Deliver | EndEpoch | Over
