"""The least that a daemon of this shape can do for a batch: it passes four messages on, and nothing else.

A worker writes into a slot and says so over a socket; the relay tells the consumer over ZeroMQ, hears from it when the
batch is done, and has the slot written again. One source, one consumer; nothing is kept in order, counted or checked.
What its processes say to each other is as long as what enqueued's do.
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zmq

from benchmarks.batches import SIZES, Size
from benchmarks.systems import Feed
from benchmarks.systems.daemon import cpu_s

_MOST_BYTES = 65536
_NOW, _MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)


@contextmanager
def relayed(size: Size, folder: Path) -> Iterator[Feed]:
    """Batches that a worker writes and a relay tells of."""
    address = f"ipc://{folder}/relay.sock"
    fd = os.memfd_create("relay")
    os.ftruncate(fd, size.queue * _step(size))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ExitStack() as stack:
        with open(fd, "rb", 0), ours, theirs:  # each process has its own
            memory = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
            passing = stack.enter_context(_running((ours.fileno(),), "relay", size.name, address))
            writing = stack.enter_context(_running((theirs.fileno(), fd), "work", size.name))
        context = stack.enter_context(zmq.Context())
        sock = stack.enter_context(context.socket(zmq.DEALER))
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.RCVTIMEO, 30_000)  # a relay that fails must not hang the consumer
        sock.connect(address)
        sock.send(msgpack.packb(["CREDIT", size.prefetch + 1]))

        def usage() -> dict[str, float]:
            return {"daemon_cpu_s": cpu_s(passing.pid), "worker_cpu_s": cpu_s(writing.pid)}

        yield Feed(_taken(sock, memory, size), usage)


@contextmanager
def _running(fds: tuple[int, ...], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this file meanwhile, which has these descriptors as its last arguments."""
    command = [sys.executable, "-m", __name__, *arguments, *map(str, fds)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=fds)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _step(size: Size) -> int:
    return -(-size.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE


def _taken(sock: zmq.Socket[bytes], memory: mmap.mmap, size: Size) -> Iterator[Any]:
    split = size.nbytes - size.shape[0] * 8
    while True:
        for item in msgpack.unpackb(sock.recv())[1]:
            offset = item[7]
            data = np.frombuffer(memory, size.dtype, split // np.dtype(size.dtype).itemsize, offset)
            batch = data.reshape(size.shape), np.frombuffer(memory, np.int64, size.shape[0], offset + split)
            del data
            yield batch
            del batch
            sock.send(msgpack.packb(["TAKE", [[item[1], 1]], [[item[1], 1]]]))


def work(name: str, channel: str, memory: str) -> None:
    """Write ready batches into the slots that are named."""
    size = SIZES[name]
    batches = [b"".join((data.data.cast("B"), labels.data)) for data, labels in size.batches(4)]
    with socket.socket(fileno=int(channel)) as sock, mmap.mmap(int(memory), 0) as slots:
        written = 0
        while order := sock.recv(_MOST_BYTES):
            for index, slot in msgpack.unpackb(order)["make"]:
                offset = slot * _step(size)
                slots[offset : offset + size.nbytes] = batches[written % len(batches)]
                written += 1
                sock.send(msgpack.packb({"made": [[0, index, slot, offset, size.nbytes, 1, 100]]}))


def relay(name: str, address: str, channel: str) -> None:
    """Pass on what is said, until one of the others is gone."""
    size = SIZES[name]
    free = list(range(size.queue))
    ready: list[list[int]] = []
    held: dict[int, int] = {}
    peer, credit, lease, ordered = b"", 0, 0, 0
    with (
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as router,
        socket.socket(fileno=int(channel)) as worker,
        select.epoll() as poll,
    ):
        router.setsockopt(zmq.LINGER, 0)
        router.bind(address)
        poll.register(router.fileno(), select.EPOLLIN)
        poll.register(worker.fileno(), select.EPOLLIN)
        while True:
            heard = False
            while int(router.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                heard = True
                peer, data = router.recv(_NOW), router.recv(_NOW)
                verb, *fields = msgpack.unpackb(data)
                if verb == "CREDIT":
                    credit = fields[0]
                else:
                    free += [held.pop(first) for first, _ in fields[0]]
            for fd, _ in poll.poll(0 if heard else -1):
                if fd == worker.fileno():
                    message = worker.recv(_MOST_BYTES)
                    if not message:
                        return
                    ready += msgpack.unpackb(message)["made"]
            items = []
            while ready and len(held) < credit:
                row = ready.pop(0)
                held[lease] = row[2]
                items.append([0, lease, 0, row[0], row[1], 0, row[2], row[3], row[4], 1, row[4]])
                lease += 1
            if items:
                router.send(peer, _MORE)
                router.send(msgpack.packb(["BATCHES", items, []]), _NOW)
            if free:
                make = [[ordered + n, slot] for n, slot in enumerate(free)]
                worker.send(msgpack.packb({"make": make}))
                ordered += len(make)
                free = []


if __name__ == "__main__":
    {"work": work, "relay": relay}[sys.argv[1]](*sys.argv[2:])
