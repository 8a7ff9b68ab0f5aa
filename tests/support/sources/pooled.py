"""Sources that show how the pool treats them: who imports, constructs, seeds and ends epochs."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import enqueued


def note(path: str | Path, text: Any) -> None:
    """Append a line to a file, in one write."""
    with open(path, "ab", 0) as file:
        file.write(f"{text}\n".encode())


if "NOTE_IMPORTS" in os.environ:
    note(os.environ["NOTE_IMPORTS"], os.getpid())


class Augmented:
    """Noise from every global generator, beside the index and the maker's pid."""

    def __init__(self, length: int = 40, size: int = 5, pid: bool = False) -> None:
        self.length = length
        self.size = size
        self.pid = pid

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        noise = np.random.random(self.size)
        return {"x": noise + random.random(), "n": np.random.randint(1 << 30), "index": index} | (
            {"pid": os.getpid()} if self.pid else {}
        )


class OwnNumbers(Augmented):
    """Noise from `enqueued.rng()` alone."""

    def __getitem__(self, index: int) -> Any:
        return {"x": enqueued.rng().random(self.size), "index": index}


class SelfShuffling:
    """Shuffles itself with a generator that nobody seeds, and notes who does so."""

    def __init__(self, path: str = "", length: int = 30, draws: bool = False, grows: bool = False) -> None:
        self.path = path
        self.draws = draws
        self.grows = grows
        self.generator = np.random.default_rng()
        self.order = np.arange(length)
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Any:
        if self.draws:
            self.generator.random(index)
        return np.array([self.order[index], self.epoch])

    def on_epoch_end(self) -> None:
        self.epoch += 1
        if self.grows:
            self.order = np.arange(len(self.order) + 3)
        self.generator.shuffle(self.order)
        if self.path:
            note(self.path, f"{self.epoch} {os.getpid()}")


class Initialized:
    """Notes each `worker_init`, and gives its worker's number."""

    def __init__(self, path: str, length: int = 20) -> None:
        self.path = path
        self.length = length
        self.worker = -1

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return np.array([index, self.worker, os.getpid()])

    def worker_init(self, info: Any) -> None:
        self.worker = info.id
        note(self.path, f"{info.id} {os.getpid()}")


def init(source: Any, info: Any) -> None:
    """For ``--worker-init``."""
    source.worker = 100 + info.id
    note(source.path, f"{info.id} {os.getpid()}")


class Threaded(Augmented):
    """Leaves a thread running."""

    def __init__(self, length: int = 20) -> None:
        super().__init__(length)
        self.constructed_in = os.getpid()
        threading.Thread(target=threading.Event().wait, name="watcher", daemon=True).start()

    def __getitem__(self, index: int) -> Any:
        return np.array([index, self.constructed_in, os.getpid()])


class ThreadedShuffling(SelfShuffling):
    """Leaves a thread running that holds a lock nearly all of the time, and takes that lock between epochs."""

    def __init__(self, path: str = "") -> None:
        super().__init__(path)
        start_holding()

    def on_epoch_end(self) -> None:
        super().on_epoch_end()
        with LOCK:
            pass


LOCK = threading.Lock()
HELD = threading.Event()


def start_holding() -> None:
    """Begin to hold `LOCK` nearly all of the time."""

    def hold() -> None:
        pause = threading.Event()
        while True:
            with LOCK:
                HELD.set()
                pause.wait(0.05)
            pause.wait(0.001)

    threading.Thread(target=hold, name="holder", daemon=True).start()
    HELD.wait()


class Locked:
    """Has an attribute that cannot be pickled."""

    def __init__(self) -> None:
        self.fine = 1
        self.guard = threading.Lock()

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        return index


class Large:
    """Holds much memory, of which a worker reads all."""

    def __init__(self, megabytes: int = 300) -> None:
        self.data = np.ones((megabytes, 1 << 17))

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return np.array([self.data.sum(), index, os.getpid()])


class Sized:
    """Batches of `sizes` bytes, in turn: each filled with its index."""

    def __init__(self, sizes: list[int], length: int = 60) -> None:
        self.sizes = sizes
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return np.full(self.sizes[index % len(self.sizes)], index % 251, np.uint8)


class Samples:
    """A dataset of `length` samples."""

    def __init__(self, length: int = 23) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if index >= self.length:
            raise IndexError(index)
        return {"x": np.full(3, index, np.float32), "y": index}


def collate(samples: list[Any]) -> Any:
    """A collate function of the user's own."""
    return np.array([sample["y"] for sample in samples]) * 10


class Shelf:
    """Holds sources."""

    class Inner(Samples):
        """A source inside a class."""

    instance = Samples(5)


shelf = Shelf()


def samples(length: int = 9, scale: float = 1.0, name: str = "", tags: list[str] | None = None) -> Samples:
    """A factory."""
    made = Samples(length)
    made.told = [scale, name, tags]  # type: ignore[attr-defined]
    return made


class Told(Samples):
    """Gives back its arguments, whatever they are."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(2)
        self.arguments = arguments

    def __getitem__(self, index: int) -> Any:
        return self.arguments


class ToldNumbers(Samples):
    """Gives back a list of numbers as an array."""

    def __init__(self, numbers: list[int]) -> None:
        super().__init__(2)
        self.numbers = np.array(numbers)

    def __getitem__(self, index: int) -> Any:
        if index == 1:
            raise ValueError("no")
        return self.numbers


def shares(sizes: list[int]) -> Iterator[Any]:
    """A generator whose replicas give unequal numbers of batches: (replica, number)."""
    info = enqueued.get_worker_info()
    assert info is not None
    for number in range(sizes[info.replica]):
        yield np.array([info.replica, number])


def noisy(length: int = 5) -> Iterator[Any]:
    """A generator function that draws from the global generators."""
    for number in range(length):
        yield {"n": number, "x": np.random.random(3), "r": random.random()}


class Rows:
    """An iterable."""

    def __init__(self, length: int = 4) -> None:
        self.length = length

    def __iter__(self) -> Iterator[Any]:
        for number in range(self.length):
            yield np.array([number])


rows = Rows(3)
walker = iter([np.array([number]) for number in range(6)])


def bulky(length: int) -> Iterator[Any]:
    """A generator of batches of 3 MiB: which replica, and its how manieth."""
    info = enqueued.get_worker_info()
    assert info is not None
    for number in range(length):
        batch = np.zeros(3 << 17)
        batch[:2] = info.replica, number
        yield batch
