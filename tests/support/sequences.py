"""Sequences and iterators of a calling program, which its pool's processes import."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import enqueued


class Counting:
    """Batch i of `length` is i, in an array of `size` numbers."""

    def __init__(self, length: int = 10, size: int = 4) -> None:
        self.length = length
        self.size = size

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return np.full(self.size, index)


class Large(Counting):
    """Batches of 9.6 MB, whose every byte follows from the index."""

    def __getitem__(self, index: int) -> Any:
        return large(index)


class Wide(Counting):
    """Batches of 1 MB, full of the index."""

    def __getitem__(self, index: int) -> Any:
        return np.full(1 << 17, index)


class Thing:
    """What interrupts whoever unpickles it next, if it was told to; it holds 1 MB."""

    refuse = False

    def __init__(self, number: int) -> None:
        self.array = np.full(1 << 17, number)

    def __setstate__(self, state: dict[str, Any]) -> None:
        refuse, Thing.refuse = Thing.refuse, False
        if refuse:
            raise InterruptedError
        vars(self).update(state)


class Things(Counting):
    """One for each index, to be pickled."""

    def __getitem__(self, index: int) -> Any:
        return Thing(index)


def large(index: int) -> tuple[Any, Any]:
    """What `Large` has at an index."""
    generator = np.random.default_rng(index)
    return generator.integers(0, 256, (64, 224, 224, 3), np.uint8), generator.integers(0, 1000, 64)


class Rich(Counting):
    """Batches of all kinds of things."""

    def __getitem__(self, index: int) -> Any:
        return rich(index)


class Point:
    """An object of a class of the user's own."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.x == self.x

    __hash__ = None  # type: ignore[assignment] # it is never a key


def rich(index: int) -> dict[str, Any]:
    """What `Rich` has at an index."""
    turned = np.arange(40_000.0).reshape(200, 200)[:, ::-1] + index
    return {
        "turned": turned,
        "fortran": np.asfortranarray(turned),
        "objects": np.array([index, None, "text"], dtype=object),
        "masked": np.ma.masked_greater(np.arange(5), index),
        "point": Point(index),
        "set": {index, "a"},
        "empty": np.zeros((0, 3)),
        "scalar": np.float32(index),
        "none": None,
    }


class Growing(Counting):
    """Each epoch is one batch longer than the last; a batch tells the epoch, its index, and the process."""

    def __init__(self, length: int = 3) -> None:
        super().__init__(length)
        self.epoch = 0
        self.table = np.zeros(100_000)
        self.ended_in: list[int] = []

    def __getitem__(self, index: int) -> Any:
        return self.epoch, index, self.table[-1], os.getpid()

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self.length += 1
        self.table[:] = self.epoch
        self.ended_in.append(os.getpid())


class Rows(Counting):
    """Batch i is row i of what it holds."""

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.rows = list(range(length))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return np.full(self.size, self.rows[index])


class Packed(Growing):
    """Counts how often it is pickled."""

    packed = 0

    def __getstate__(self) -> dict[str, Any]:
        self.packed += 1
        return self.__dict__


class Holding(Growing):
    """The same with something that cannot be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.guard = threading.Lock()


class Odd(Exception):
    """An exception of two arguments, which pickle cannot make again as usual."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what} {number}")
        self.number = number


class Local(Exception):
    """An exception that holds what cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("it holds a lock")
        self.guard = threading.Lock()


class Stubborn(Exception):
    """An exception that can be pickled and not be made again."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise RuntimeError("not here")


def value_error() -> None:
    raise ValueError("batch is bad")


def odd() -> None:
    raise Odd("number", 7)


def verbose() -> None:
    """Raises what holds a megabyte, as an error of a decoder holds what it was to decode."""
    raise json.JSONDecodeError("it is no document", "x" * (1 << 20), 7)


def local() -> None:
    raise Local


def stubborn() -> None:
    raise Stubborn("as ever")


def interrupted() -> None:
    raise KeyboardInterrupt


def leave() -> None:
    raise SystemExit(3)


def vanish() -> None:
    os._exit(7)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Failing(Counting):
    """What is to happen happens at one index."""

    def __init__(self, at: int, what: Callable[[], None]) -> None:
        super().__init__()
        self.at = at
        self.what = what

    def __getitem__(self, index: int) -> Any:
        if index == self.at:
            self.what()
        return super().__getitem__(index)


class DyingOnce(Counting):
    """Its worker is killed once, at index 3; `mark` is a file that is there from then on."""

    def __init__(self, mark: str) -> None:
        super().__init__()
        self.mark = mark

    def __getitem__(self, index: int) -> Any:
        if index == 3 and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


class Hanging(Counting):
    """No batch from `first` on is ever made."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def __getitem__(self, index: int) -> Any:
        if index >= self.first:
            threading.Event().wait()
        return super().__getitem__(index)


class Drawing(Counting):
    """A batch is a number of each of the generators."""

    def __getitem__(self, index: int) -> Any:
        return index, random.random(), np.random.random(), enqueued.rng().random()


class Unwilling(Counting):
    """It can be pickled, and not be unpickled."""

    def __setstate__(self, state: Any) -> None:
        raise OSError("it stays here")


class BadEnd(Counting):
    """Its `on_epoch_end` raises."""

    def on_epoch_end(self) -> None:
        raise ZeroDivisionError("at the end")


class Fatal:
    """An iterator whose worker dies after three batches."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Fatal:
        return self

    def __next__(self) -> int:
        self.at += 1
        if self.at > 3:
            vanish()
        return self.at


class Cycle:
    """An iterator of `count` numbers that can be pickled; a batch tells the worker, too."""

    def __init__(self, count: int, extra: int = 0) -> None:
        self.count = count
        self.extra = extra
        self.at = 0

    def __iter__(self) -> Cycle:
        return self

    def __next__(self) -> Any:
        info = enqueued.get_worker_info()
        assert info is not None
        if self.at >= self.count + (self.extra if info.replica == 0 else 0):
            raise StopIteration
        self.at += 1
        return info.replica, self.at - 1, np.random.random(), random.random()
