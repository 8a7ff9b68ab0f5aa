"""Enqueuers within one program, each with two workers and a queue of ten batches."""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.batches import ENDLESS, Ready, Size
from benchmarks.systems import Feed
from enqueued import OrderedEnqueuer

WORKERS = 2
QUEUE = 10


@contextmanager
def ours(size: Size, folder: Path, *, processes: bool = False, length: int = ENDLESS) -> Iterator[Feed]:
    """Batches of an OrderedEnqueuer of enqueued's."""
    with OrderedEnqueuer(Ready(size.name, length), use_multiprocessing=processes) as enqueuer:
        enqueuer.start(WORKERS, QUEUE)
        batches = enqueuer.get()

        def epochs() -> Iterator[Iterator[Any]]:
            while True:
                yield (next(batches) for _ in range(length))

        yield _fed(epochs())


def adapters() -> Any:
    """Keras 3's module of enqueuers, which need not be there."""
    # what it takes to be imported: its NumPy backend needs JAX
    os.environ["KERAS_BACKEND"] = "torch" if importlib.util.find_spec("torch") else "tensorflow"
    return importlib.import_module("keras.src.trainers.data_adapters.py_dataset_adapter")


@contextmanager
def keras(size: Size, folder: Path, *, processes: bool = False, length: int = ENDLESS) -> Iterator[Feed]:
    """Batches of Keras 3's, which `fit` starts and stops in each epoch as it is done here."""
    adapter = adapters()

    class Dataset(Ready, adapter.PyDataset):  # type: ignore[name-defined,misc] # its type is not known
        """What it takes."""

        def __init__(self) -> None:
            Ready.__init__(self, size.name, length)
            adapter.PyDataset.__init__(self)

    enqueuer = adapter.OrderedEnqueuer(Dataset(), workers=WORKERS, use_multiprocessing=processes, max_queue_size=QUEUE)

    def epochs() -> Iterator[Iterator[Any]]:
        while True:
            enqueuer.start()
            batches = enqueuer.get()
            yield (next(batches) for _ in range(length))
            enqueuer.stop()

    yield _fed(epochs())


@contextmanager
def dataloader(size: Size, folder: Path, *, length: int = ENDLESS) -> Iterator[Feed]:
    """Batches of PyTorch's DataLoader, which keeps its workers between epochs; see `benchmarks.systems.dataloader`."""
    data = importlib.import_module("torch.utils.data")
    loader = data.DataLoader(
        Ready(size.name, length), batch_size=None, num_workers=WORKERS, sampler=range(length),
        prefetch_factor=QUEUE // WORKERS, persistent_workers=True,
    )  # fmt: skip

    def epochs() -> Iterator[Iterator[Any]]:
        while True:
            yield iter(loader)

    yield _fed(epochs())


def _fed(epochs: Iterator[Iterator[Any]]) -> Feed:
    gaps: list[float] = []
    return Feed(_batches(epochs, gaps.append), facts=lambda: {"gap_ms": median(gaps) * 1e3} if gaps else {})


def _batches(epochs: Iterator[Iterator[Any]], tell_gap: Callable[[float], None]) -> Iterator[Any]:
    """All batches; tells how long the first one of each later epoch took to come after it was asked for."""
    clock = time.perf_counter
    asked = 0.0
    for epoch in epochs:
        new = asked > 0
        for batch in epoch:
            if new:
                tell_gap(clock() - asked)
                new = False
            yield batch
            asked = clock()
