"""Bare pyzmq, PUSH to PULL: no order between producers, no credit, no acknowledgement, no look at what came."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from benchmarks.batches import SIZES, Size
from benchmarks.program import Failed
from benchmarks.systems import Feed, Server
from benchmarks.systems.producer import producing

ONE_FRAME = 65536
"""Below this many bytes one frame that holds both arrays is faster than one frame each (pyzmq copies them anyway)."""

ANY_PORT = "tcp://127.0.0.1:*"
HIGH_WATER = 10
"""Of each socket where several divide the batches."""


@contextmanager
def pushed(size: Size, folder: Path, *, transport: str, high_water: int) -> Iterator[Feed]:
    """Batches of a PUSH socket in another process; dtypes and shapes are agreed on beforehand."""
    with zmq.Context() as context, context.socket(zmq.PULL) as sock:
        sock.set_hwm(high_water)
        # over ipc, even a PULL socket that lingers can keep its context from ending when the other side was killed
        sock.setsockopt(zmq.LINGER, 0)
        if transport == "ipc":
            address = f"ipc://{folder}/z.sock"
            sock.bind(address)
        else:
            sock.bind(ANY_PORT)
            address = sock.getsockopt_string(zmq.LAST_ENDPOINT)
        with producing(__name__, size.name, address, str(high_water)):
            sock.setsockopt(zmq.RCVTIMEO, 30_000)  # a producer that fails must not hang the consumer
            yield Feed(_pulled(sock, size))


@contextmanager
def serving(size: Size) -> Iterator[Server]:
    """A PUSH socket that is bound, in a process of its own."""
    with producing(__name__, size.name, ANY_PORT, str(HIGH_WATER)) as said:
        address = said.readline().strip()
        if not address:
            raise Failed("the process of the PUSH socket has ended")
        yield Server(address)


@contextmanager
def divided(size: Size, address: str) -> Iterator[Feed]:
    """One PULL socket of those that divide what comes."""
    with zmq.Context() as context, context.socket(zmq.PULL) as sock:
        sock.set_hwm(HIGH_WATER)
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.RCVTIMEO, 30_000)
        sock.connect(address)
        yield Feed(_pulled(sock, size))


def _pulled(sock: zmq.Socket[bytes], size: Size) -> Iterator[Any]:
    dtype, labels, split = np.dtype(size.dtype), size.shape[0], size.nbytes - size.shape[0] * 8
    if size.nbytes < ONE_FRAME:
        while True:
            frame = sock.recv()
            data = np.frombuffer(frame, dtype, split // dtype.itemsize).reshape(size.shape)
            yield data, np.frombuffer(frame, np.int64, labels, split)
    while True:
        first, second = sock.recv_multipart(copy=False)
        yield np.frombuffer(first.buffer, dtype).reshape(size.shape), np.frombuffer(second.buffer, np.int64)


def produce(name: str, address: str, high_water: str) -> None:
    """Send ready batches for ever: to who is bound at the address, or, where it is `ANY_PORT`, to all who connect."""
    size = SIZES[name]
    batches = size.batches(4)
    sock = zmq.Context().socket(zmq.PUSH)
    sock.set_hwm(int(high_water))
    if address == ANY_PORT:
        sock.bind(address)
        sys.stdout.write(f"{sock.getsockopt_string(zmq.LAST_ENDPOINT)}\n")
        sys.stdout.flush()
    else:
        sock.connect(address)
    if size.nbytes < ONE_FRAME:
        while True:
            for data, labels in batches:
                sock.send(b"".join((data.data.cast("B"), labels.data)))
    while True:
        for data, labels in batches:
            sock.send(data.data, zmq.SNDMORE, copy=False)
            sock.send(labels.data, copy=False)


if __name__ == "__main__":
    produce(*sys.argv[1:])
