"""The base class of sequences."""

from __future__ import annotations

import pytest

from enqueued import Sequence


class Squares(Sequence):
    """Has an `__init__` that does not call that of its base, as programs do."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        return index * index


def test_iterating_is_one_finite_pass() -> None:
    """An epoch in order, as often as it is asked for; it ends by the length, not by an IndexError."""
    squares = Squares(4)
    assert list(squares) == list(squares) == [0, 1, 4, 9]


def test_what_is_not_written_raises() -> None:
    """`__getitem__` and `__len__` are the subclass's; `on_epoch_end` does nothing and may be left out."""
    bare = Sequence()
    with pytest.raises(NotImplementedError, match="__getitem__"):
        bare[0]
    with pytest.raises(NotImplementedError, match="__len__"):
        len(bare)
    bare.on_epoch_end()


def test_it_asks_for_nothing() -> None:
    """There is no `__init__` to call and no state: a subclass may do as it likes."""
    assert "__init__" not in vars(Sequence)
    assert vars(Squares(1)) == {"length": 1}
