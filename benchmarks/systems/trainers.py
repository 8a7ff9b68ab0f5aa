"""Where a trainer has its batches from: a daemon, or what makes them in its own program from the same Python source.

All that make them here have as many workers as they are told, keep two batches ready for each as the DataLoader does by
itself, and keep their workers between epochs if they can.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.systems import Feed
from benchmarks.systems.enqueuers import adapters
from benchmarks.systems.tfdata import tensorflow
from enqueued import Client

READY = 2
"""Batches for each worker."""
_serving: list[Any] = []


def needed(name: str) -> None:
    """Import what a system needs, so that its own time can be measured."""
    imports: dict[str, Callable[[], Any]] = {"keras": adapters, "tensorflow": tensorflow}
    imports.get(name, lambda: importlib.import_module(name))()


@contextmanager
def client(endpoint: str, state: dict[str, Any] | None = None) -> Iterator[Feed]:
    """Batches of a daemon, as a group of this trainer's own; from `state` on."""
    with Client(endpoint, state=state, connect_timeout=120, batch_timeout=60) as opened:
        yield Feed((batch.data for batch in opened.batches()), state=opened.state_dict)


@contextmanager
def loader(source: str, arguments: dict[str, Any], workers: int) -> Iterator[Feed]:
    """Batches of PyTorch's DataLoader; `batch_size=None`, because the source gives whole batches."""
    data = importlib.import_module("torch.utils.data")  # as a name: torch need not be there, nor its types be checked
    dataset = built(source, arguments)
    loaded = data.DataLoader(
        dataset, batch_size=None, sampler=range(len(dataset)), num_workers=workers, persistent_workers=True,
        prefetch_factor=READY,
    )  # fmt: skip

    def epochs() -> Iterator[Any]:
        while True:
            yield from loaded

    yield Feed(epochs())


@contextmanager
def keras(source: str, arguments: dict[str, Any], workers: int) -> Iterator[Feed]:
    """Batches of Keras 3's OrderedEnqueuer with processes, which `fit` starts and stops in each epoch as here."""
    adapter = adapters()
    made = built(source, arguments)

    class Dataset(adapter.PyDataset):  # type: ignore[name-defined,misc] # its type is not known
        """What it takes."""

        def __len__(self) -> int:
            return len(made)

        def __getitem__(self, index: int) -> Any:
            return made[index]

    enqueuer = adapter.OrderedEnqueuer(
        Dataset(), workers=workers, use_multiprocessing=True, max_queue_size=READY * workers
    )

    def epochs() -> Iterator[Any]:
        while True:
            enqueuer.start()
            batches = enqueuer.get()
            yield from (next(batches) for _ in range(len(made)))
            enqueuer.stop()

    yield Feed(epochs())


@contextmanager
def tf_data(source: str, arguments: dict[str, Any], workers: int) -> Iterator[Feed]:
    """Batches of a tf.data service in this process, for no other one can be asked for what is made in Python.

    `numpy_function` on as many threads as there are workers is twice as fast as `from_generator`, which has one. The
    source gives float32 and int64.
    """
    tf = tensorflow()
    service = tf.data.experimental.service
    made = built(source, arguments)

    def make(index: Any) -> Any:
        return tf.numpy_function(lambda number: made[int(number)], [index], (tf.float32, tf.int64))

    dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
    address = dispatcher.target.partition("://")[2]
    worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=address))
    sent = tf.data.Dataset.range(len(made)).repeat().map(make, num_parallel_calls=workers)
    sent = sent.apply(service.distribute(service.ShardingPolicy.OFF, address, compression=None))
    # never stopped: that waits, with the interpreter's lock held, for Python code that waits for the lock
    _serving.append((dispatcher, worker))
    yield Feed(sent.prefetch(READY * workers).as_numpy_iterator())


def built(source: str, arguments: dict[str, Any]) -> Any:
    """The source, constructed in this process."""
    module, _, name = source.partition(":")
    return getattr(importlib.import_module(module), name)(**arguments)
