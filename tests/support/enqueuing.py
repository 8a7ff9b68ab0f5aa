"""Sequences and iterators for the enqueuers' tests, in a module that a worker process can import."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import enqueued
from enqueued import SequenceEnqueuer
from gate import enter


def numbers(enqueuer: SequenceEnqueuer, count: int | None = None) -> list[int]:
    """The next batches of an enqueuer, each of which is one number."""
    return [int(batch[0]) for batch in islice(enqueuer.get(), count)]


def batch(number: int) -> np.ndarray[Any, Any]:
    """A batch that is one number."""
    return np.array([number])


class Numbered:
    """Batch i of `length` is number i, and each make is noted as a file in `folder`, if one is given."""

    def __init__(self, length: int = 5, folder: Path | None = None, uneven: bool = False) -> None:
        self.length = length
        self.folder = folder
        self.uneven = uneven

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self.length:
            raise IndexError(index)
        if self.uneven:
            hashlib.sha256(bytes((index * 7 % 5) << 20))  # work without the lock: the later ones are often done first
        if self.folder is not None:
            (self.folder / f"{time.monotonic_ns()}-{os.getpid()}-{threading.get_ident()}").touch()
        return batch(index)


def made(folder: Path) -> int:
    """How many batches `Numbered` has made."""
    return len(os.listdir(folder))


class Epochs(Numbered):
    """Batch i of epoch e is ``100 * e + i``; each epoch is one batch longer than the one before."""

    def __init__(self, length: int = 3, folder: Path | None = None) -> None:
        super().__init__(length, folder)
        self.epoch = 0
        self.ends: list[tuple[int, int]] = []
        """The process, and how many batches were made, when each epoch ended."""

    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index) + 100 * self.epoch

    def on_epoch_end(self) -> None:
        self.ends.append((os.getpid(), made(self.folder) if self.folder else 0))
        self.epoch += 1
        self.length += 1


class Dataset:
    """What Keras 3's `PyDataset` looks like to an enqueuer."""

    def __init__(self) -> None:
        self.begun = 0

    @property
    def num_batches(self) -> int:
        return 2

    def on_epoch_begin(self) -> None:
        self.begun += 1

    def on_epoch_end(self) -> None:
        """Does nothing."""

    def __getitem__(self, index: int) -> Any:
        return batch(10 * self.begun + index)


class WithNone(Numbered):
    """Every second batch is None."""

    def __getitem__(self, index: int) -> Any:
        return None if index % 2 else super().__getitem__(index)


class Pairs(Numbered):
    """Nested batches."""

    def __getitem__(self, index: int) -> Any:
        return (np.zeros((2, 3), np.float32), {"label": 1}), ["a", "b"]


class Silent(Numbered, enqueued.Sequence):
    """Inherits the empty hook."""


class Drawing(Numbered):
    """Batches of `enqueued.rng()`."""

    def __getitem__(self, index: int) -> Any:
        return enqueued.rng().integers(1 << 62, size=1)


class TwoArguments(Exception):
    """Its text is made of two arguments, so that its pickle, made of `args`, cannot be loaded."""

    def __init__(self, what: str, where: int) -> None:
        super().__init__(f"{what} at {where}")
        self.what = what
        self.where = where


class Unpicklable(Exception):
    """Cannot be pickled at all."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Failing(Numbered):
    """Raises at one index: a class that is called with what the test says."""

    def __init__(self, kind: Any, *args: Any, index: int = 2, length: int = 5) -> None:
        super().__init__(length)
        self.kind, self.args, self.index = kind, args, index

    def __getitem__(self, index: int) -> Any:
        if index == self.index:
            self.fail()
        return super().__getitem__(index)

    def fail(self) -> None:
        raise self.kind(*self.args)


class Dying(Failing):
    """Its worker is gone in the middle of a batch."""

    def __init__(self, how: str) -> None:
        super().__init__(None)
        self.how = how

    def fail(self) -> None:
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(3)


class NoEnd(Numbered):
    """Cannot end an epoch."""

    def on_epoch_end(self) -> None:
        raise KeyError("cannot shuffle")


class NoLength(Numbered):
    """Raises when it is asked for its length, from the epoch `since` on."""

    def __init__(self, since: int) -> None:
        super().__init__(2)
        self.since = since

    def on_epoch_end(self) -> None:
        self.since -= 1

    def __len__(self) -> int:
        if self.since <= 0:
            raise KeyError("no index file")
        return super().__len__()


class Odd(Numbered):
    """Says any length."""

    def __len__(self) -> Any:
        return self.length


class Locked(Numbered):
    """Cannot be pickled."""

    def __init__(self, length: int = 5) -> None:
        super().__init__(length)
        self.guard = threading.Lock()


class Stuck(Numbered):
    """One batch is not made before a gate is open."""

    def __init__(self, gate: Path, index: int = 2) -> None:
        super().__init__()
        self.gate, self.index = gate, index

    def __getitem__(self, index: int) -> Any:
        if index == self.index:
            enter(self.gate)
        return super().__getitem__(index)


class SlowEnd(Stuck):
    """Its `on_epoch_end` goes through the gate, not its batches; a file beside the gate says that it has begun."""

    def __init__(self, gate: Path) -> None:
        super().__init__(gate, index=-1)

    def on_epoch_end(self) -> None:
        self.gate.with_suffix(".begun").touch()
        enter(self.gate)


class Arriving(Stuck):
    """Does not arrive in its pool before the gate is open; a file beside it tells the process."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.gate.with_name(f"{os.getpid()}.arriving").touch()
        enter(self.gate)


def count(stop: int | None, kind: Any = None) -> Iterator[Any]:
    """A plain generator of numbers; at its end it raises `kind`, if one is given."""
    number = 0
    while stop is None or number < stop:
        yield batch(number)
        number += 1
    if kind is not None:
        raise kind("at the end")


class Safe:
    """An iterator that any number of threads may call; it can be pickled."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop
        self.number = 0
        self.guard: Any = threading.Lock()

    def __iter__(self) -> Safe:
        return self

    def __next__(self) -> Any:
        with self.guard:
            number = self.number
            if self.stop is not None and number >= self.stop:
                raise StopIteration
            self.number += 1
        return batch(number)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"guard": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, guard=threading.Lock())


class Noted(Safe):
    """Endless; each make is noted as a file in `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __next__(self) -> Any:
        (self.folder / f"{time.monotonic_ns()}-{os.getpid()}-{threading.get_ident()}").touch()
        return super().__next__()


class Broken(Safe):
    """Raises after three batches."""

    def __next__(self) -> Any:
        if self.number == 3:
            raise ZeroDivisionError("at the end")
        return super().__next__()


class Draws:
    """An endless iterator of (worker, random, NumPy's random) of the worker that it runs in."""

    def __iter__(self) -> Draws:
        return self

    def __next__(self) -> Any:
        info = enqueued.get_worker_info()
        worker = -1 if info is None else info.id
        return np.array([worker, random.getrandbits(62), np.random.randint(1 << 62)])


class Shard:
    """Gives each of the workers every n-th of `stop` numbers."""

    def __init__(self, stop: int) -> None:
        self.stop = stop
        self.number = -1

    def __iter__(self) -> Shard:
        return self

    def __next__(self) -> Any:
        info = enqueued.get_worker_info()
        assert info is not None
        self.number = info.id if self.number < 0 else self.number + info.num_workers
        if self.number >= self.stop:
            raise StopIteration
        return batch(self.number)


def main() -> None:
    """``python -m enqueuing THREADS|PROCESSES``: a program that forgets to stop."""
    enqueuer = enqueued.OrderedEnqueuer(Numbered(), use_multiprocessing=sys.argv[1] == "processes")
    enqueuer.start(workers=2)
    sys.stdout.write(f"{numbers(enqueuer, 7)}\n")


if __name__ == "__main__":
    main()
