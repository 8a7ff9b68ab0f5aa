"""tf.data service: a dispatcher and one worker in a process of their own, over gRPC as it comes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.batches import Size
from benchmarks.systems import Feed
from benchmarks.systems.producer import producing


def tensorflow() -> Any:
    """TensorFlow, which need not be there and has no types; it says nothing but errors, and looks for no GPU."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    return importlib.import_module("tensorflow")


@contextmanager
def served(size: Size, folder: Path) -> Iterator[Feed]:
    """The ready batches as tensors of the dataset's own: Python code cannot be served to another process.

    They are constants that its worker hands out again and again, without a copy or a line of Python; taken as NumPy
    arrays that lie in the tensors. What helps it most, by trial: no compression, and two batches more kept ready.
    """
    tf = tensorflow()
    with producing(__name__) as said:
        address = said.readline().strip()
        if not address:
            raise RuntimeError("the process of the tf.data service has ended")
        first, *others = (tf.data.Dataset.from_tensors(batch) for batch in size.batches(4))
        for other in others:
            first = first.concatenate(other)
        service = tf.data.experimental.service
        mode = service.ShardingPolicy.OFF
        sent = first.repeat().apply(service.distribute(mode, address, compression=None))
        yield Feed(sent.prefetch(2).as_numpy_iterator())


def produce() -> None:
    """Serve until killed; says where."""
    service = tensorflow().data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
    address = dispatcher.target.partition("://")[2]
    worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=address))
    sys.stdout.write(f"{dispatcher.target}\n")
    sys.stdout.flush()
    worker.join()


if __name__ == "__main__":
    produce()
