"""tensorpack's transport over ZeroMQ: send_dataflow_zmq and RemoteDataZMQ, as they come."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.batches import SIZES, Size
from benchmarks.systems import Feed
from benchmarks.systems.producer import producing


@contextmanager
def sent(size: Size, folder: Path) -> Iterator[Feed]:
    """Batches of a dataflow in another process, over ipc."""
    dataflow = importlib.import_module("tensorpack.dataflow")  # as a name: it need not be there, and has no types
    address = f"ipc://{folder}/t.sock"
    remote = dataflow.RemoteDataZMQ(address)
    remote.reset_state()
    with producing(__name__, size.name, address):
        yield Feed(iter(remote))


class Endless:
    """Ready batches for ever, as a dataflow."""

    def __init__(self, size: Size) -> None:
        self._batches = [list(batch) for batch in size.batches(4)]

    def reset_state(self) -> None:
        """There is nothing to reset."""

    def __len__(self) -> int:
        """It has no length: so a dataflow says it."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[list[Any]]:
        """The batches, in turn."""
        while True:
            yield from self._batches


def produce(name: str, address: str) -> None:
    """Send ready batches for ever."""
    importlib.import_module("tensorpack.dataflow").send_dataflow_zmq(Endless(SIZES[name]), address)


if __name__ == "__main__":
    produce(*sys.argv[1:])
