"""Sources that make the same batch again, and sources that do not, each for a reason of its own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

import enqueued


class Same:
    """Ten batches, made anew from what is seeded for each position."""

    def __init__(self, size: int = 10) -> None:
        self.size = size
        self.start = random.random() + float(np.random.random())

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        noise = enqueued.rng().random((4, 8), np.float32) + np.random.random()
        return {"x": noise, "nan": np.array([np.nan]), "index": index}, (self.start, random.random())


class Unseeded(Same):
    """Draws, while it is built, from a generator that nobody seeds."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = np.random.default_rng().random((2, 64))

    def __getitem__(self, index: int) -> Any:
        x = np.zeros((2, 64))
        x[1, 17:] = self.offset[1, 17:]
        return ({"x": x},)


class Drawing(Same):
    """Draws from a generator that nobody seeds, for each batch."""

    def __getitem__(self, index: int) -> Any:
        return np.random.default_rng().random(3)


class Counting(Same):
    """Keeps a generator, seeded, that goes on from batch to batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(1)

    def __getitem__(self, index: int) -> Any:
        return self.rng.integers(1000, size=2)


class Changing(Same):
    """Changes its own data when it makes a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.data = np.zeros((10, 3))

    def __getitem__(self, index: int) -> Any:
        self.data[index] += 1
        return self.data[index]


class Numbered(Same):
    """Looks at which worker it is."""

    def __getitem__(self, index: int) -> Any:
        info = enqueued.get_worker_info()
        assert info is not None
        return info.id


class Hashing(Same):
    """Has classes in the order of a set."""

    def __init__(self) -> None:
        super().__init__()
        self.names = list({f"class {number}" for number in range(50)})

    def __getitem__(self, index: int) -> Any:
        return self.names[index]


class Turning(Same):
    """Shuffles between epochs with what is seeded there."""

    def __init__(self) -> None:
        super().__init__()
        self.order = np.arange(20)

    def __getitem__(self, index: int) -> Any:
        return self.order

    def on_epoch_end(self) -> None:
        self.size += 1
        np.random.shuffle(self.order)


class Straying(Turning):
    """Shuffles between epochs with a generator that nobody seeds."""

    def on_epoch_end(self) -> None:
        np.random.default_rng().shuffle(self.order)


class Threaded(Same):
    """Runs a thread of its own, which must not be forked."""

    def __init__(self) -> None:
        super().__init__()
        threading.Thread(target=threading.Event().wait, args=(1000,), daemon=True, name="of the source").start()


class Objects(Same):
    """Gives what cannot travel."""

    def __getitem__(self, index: int) -> Any:
        return {"x": np.array([object()])}


class Failing(Same):
    """Does at batch 5 what `how` says; with `last`, only as a worker that has made another one before."""

    def __init__(self, how: str, late: bool = False, where: str = "") -> None:
        super().__init__()
        self.how = how
        self.late = late
        self.where = where
        self.made = 0
        if self.how.endswith("at load"):
            self._fail()

    def __getitem__(self, index: int) -> Any:
        self.made += 1
        if index == 5 and (self.made > 1 or not self.late):
            self._fail()
        return index

    def _fail(self) -> None:
        if self.where:
            with open(self.where, "w") as file:
                child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait(1000)"])
                file.write(f"{os.getpid()} {child.pid}\n")
        if self.how.startswith("die"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.how.startswith("leave"):
            os._exit(0)
        if self.how.startswith("hang"):
            threading.Event().wait(1000)
        raise ValueError(f"made {self.made}")


def counted(size: int = 5) -> Iterator[Any]:
    """A generator that makes the same again."""
    for number in range(size):
        yield {"number": number, "noise": np.random.random(2)}


def shard(size: int = 4) -> Iterator[Any]:
    """A generator that looks at which replica it is."""
    info = enqueued.get_worker_info()
    assert info is not None
    for number in range(size):
        yield info.replica, number


def wild() -> Iterator[Any]:
    """A generator that draws from a generator that nobody seeds, from its second batch on."""
    rng = np.random.default_rng()
    yield np.zeros(2)
    while True:
        yield rng.random(2)


def hashed() -> Iterator[Any]:
    """A generator in the order of a set."""
    yield from {f"shard {number}" for number in range(50)}
