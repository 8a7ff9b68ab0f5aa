"""What is done with a sequence between epochs, in the calling program, whoever makes the batches."""

from __future__ import annotations

import operator
import threading
import time
from typing import Any

from enqueued.source import hooks


def length(sequence: Any) -> int:
    """How many batches the epoch has: `len`, or Keras 3's `num_batches`; asked once per epoch.

    What the user's code raises comes out as it is. Raises ValueError below 1, TypeError for what is no number.
    """
    who = type(sequence).__name__
    if hasattr(type(sequence), "__len__"):
        value, told = type(sequence).__len__(sequence), f"len({who})"  # len() hides which wrong value it was given
    else:
        value, told = sequence.num_batches, f"{who}.num_batches"
    if value is None:
        raise ValueError(f"{told} is None, which says that it is endless; give what is endless to GeneratorEnqueuer")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{told} is {value!r}; it must be an int, at least 1") from None
    if number < 1:
        raise ValueError(f"{told} is {number}; an epoch must have at least 1 batch")
    return number


def has_hook(sequence: Any) -> bool:
    """Whether anything happens between epochs; if not, the next epoch may be made while this one is taken."""
    return any(hooks.hook(sequence, name) is not None for name in hooks.NAMES)


def begin(sequence: Any) -> None:
    """Before the first batch of a run: `on_epoch_begin`, which Keras 3's datasets have."""
    _run(sequence, "on_epoch_begin")


def turn(sequence: Any) -> None:
    """When the last batch of an epoch is taken and none of the next is made: `on_epoch_end`, then `on_epoch_begin`."""
    _run(sequence, "on_epoch_end")
    _run(sequence, "on_epoch_begin")


def _run(sequence: Any, name: str) -> None:
    hook = hooks.hook(sequence, name)
    if hook is not None:
        hook()


class EpochEnds:
    """Counts the ends of epochs, for those who wait for one; wait and be told from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting_ends = 0
        self._closed = False

    def add(self) -> None:
        """An epoch ended."""
        with self._changed:
            self._waiting_ends += 1
            self._changed.notify_all()

    def close(self) -> None:
        """No more epochs will end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self, timeout: float) -> None:
        """Until an epoch has ended since the last wait, or `timeout` seconds went by, or none will end any more."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not self._waiting_ends and not self._closed:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)
            self._waiting_ends = 0
