"""What a stream wants made, position by position."""

from __future__ import annotations

from enqueued.batch import Position
from enqueued.stream.core import Stream


def ordered(stream: Stream, most: int, together: int = 1) -> list[Position]:
    """Up to `most` positions to make now, in order."""
    return [
        (epoch, index) for epoch, first, count in stream.orders(most, together) for index in range(first, first + count)
    ]
