"""What is remembered is bounded, on both sides."""

from __future__ import annotations

from typing import Any

from enqueued.codec import encode as encoder
from enqueued.codec.encode import encode
from enqueued.codec.limits import MEMO_BYTES
from enqueued.codec.memo import Memo


def test_a_memo_forgets_when_it_is_full() -> None:
    """The weight of what is remembered never passes the limit, and what is too heavy never enters."""
    memo: Memo[int, str] = Memo(limit=10, largest=6)
    memo.remember(1, "a", 6)
    memo.remember(2, "b", 7)
    assert memo == {1: "a"}
    memo.remember(3, "c", 4)
    assert memo == {1: "a", 3: "c"}
    memo.remember(4, "d", 1)
    assert memo == {4: "d"}


def test_batches_that_never_repeat_do_not_fill_the_encoder() -> None:
    """A source whose values change in each batch costs time, and no memory."""
    for number in range(5000):
        encode(("x" * 100, number))
    assert sum(len(layout.header) for layout in encoder._layouts.values()) <= MEMO_BYTES


def test_equal_batches_share_their_layout() -> None:
    """The second batch of a stream costs only its walk."""
    first, second = ({"a": [1, 2.5], "b": b"x"} for _ in range(2))
    one: Any = encode(first)
    other: Any = encode(second)
    assert one.header is other.header
