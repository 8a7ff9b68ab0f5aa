"""A client that a stranger has written from PROTOCOL.md alone: nothing of enqueued but the daemon under test."""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from serving import Serving

SEALS = 1 | 2 | 4 | 16


class Stranger:
    """Takes batches of one stream, from shared memory where there is a hand-off."""

    def __init__(self, endpoint: str, credit: int = 3, **hello: Any) -> None:
        self.segments: dict[int, mmap.mmap] = {}
        self.handoff: socket.socket | None = None
        token = None
        if endpoint.startswith("ipc://"):
            self.handoff = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.handoff.connect(endpoint.removeprefix("ipc://") + ".fds")
            token = msgpack.unpackb(self.handoff.recv(256))["token"]
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.connect(endpoint)
        self.say("HELLO", {"protocol": 1, "token": token, **hello})
        verb, self.welcome = self.hear()[0]
        assert verb == "WELCOME"
        self.longest = 0
        """Batches of the longest run that it was given."""
        self.say("CREDIT", credit)

    def say(self, *message: Any) -> None:
        self.socket.send(msgpack.packb(message))

    def hear(self) -> tuple[list[Any], list[bytes]]:
        assert self.socket.poll(20_000), "the daemon says nothing"
        first, *frames = self.socket.recv_multipart()
        return msgpack.unpackb(first), frames

    def epoch(self) -> Iterator[tuple[int, Any]]:
        """Index and batch, until the end of the epoch."""
        while True:
            message, frames = self.hear()
            if message[0] != "BATCHES":
                continue
            for item in message[1]:
                if item[0] == 3:
                    return
                assert item[0] in (0, 1), item
                _, lease, _, _, index, _, *place, count, step = item
                assert 1 <= count <= 64
                assert lease >= 0
                self.longest = max(self.longest, count)
                data = frames.pop(0) if item[0] == 1 else self.slot(place[0], place[1], (count - 1) * step + place[2])
                nbytes = len(data) - (count - 1) * step
                assert count == 1 or step >= nbytes
                for n in range(count):
                    yield index + n, decode(data[n * step : n * step + nbytes])
                for part in ([lease + count // 2, count - count // 2], [lease, count // 2]):  # in parts, in any order
                    if part[1]:
                        self.say("TAKE", [part], [part] if item[0] == 0 else [])
            assert not frames
            for segment in message[2]:
                self.segments.pop(segment, None)

    def slot(self, segment: int, offset: int, nbytes: int) -> bytes:
        """The bytes of a ticket, copied."""
        if segment not in self.segments:
            assert self.handoff is not None
            self.handoff.send(msgpack.packb({"want": segment}))
            data, ancillary, _, _ = self.handoff.recvmsg(256, socket.CMSG_SPACE(4))
            fd, size = array.array("i", ancillary[0][2])[0], msgpack.unpackb(data)["size"]
            assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS
            assert os.fstat(fd).st_size == size
            self.segments[segment] = mmap.mmap(fd, size, mmap.MAP_PRIVATE, mmap.PROT_READ)
            os.close(fd)
        memory = self.segments[segment]
        assert offset + nbytes <= len(memory)
        return memory[offset : offset + nbytes]

    def close(self) -> None:
        self.say("BYE")
        while self.hear()[0][0] != "GONE":
            pass
        self.socket.close(0)
        self.context.term()
        if self.handoff is not None:
            self.handoff.close()


def dtype_of(plain: Any) -> Any:
    """A text, or `[names, formats, offsets, itemsize]`."""
    if isinstance(plain, str):
        return np.dtype(plain)
    names, formats, offsets, itemsize = plain
    fields = [(dtype_of(one[0]), tuple(one[1])) if isinstance(one, list) and len(one) == 2 else dtype_of(one)
              for one in formats]  # fmt: skip
    found: Any = {"names": names, "formats": fields, "offsets": offsets, "itemsize": itemsize}
    return np.dtype(found)


def decode(data: bytes) -> Any:
    """An encoded batch."""
    length, version = struct.unpack_from("<II", data)
    assert version == 1
    structure, nbytes = msgpack.unpackb(data[8 : 8 + length], strict_map_key=False, unicode_errors="surrogatepass")
    body = data[-(-(8 + length) // 64) * 64 :][:nbytes]
    assert len(body) == nbytes
    return build(structure, body)


def build(node: list[Any], body: bytes) -> Any:
    """One node of the structure."""
    kind, rest = node[0], node[1:]
    if kind in "tl":
        children = [build(child, body) for child in rest[0]]
        return tuple(children) if kind == "t" else children
    if kind == "d":
        return {key: build(child, body) for key, child in rest[0]}
    if kind in "nc":
        return rest[0], dict(zip(rest[1], (build(child, body) for child in rest[2]), strict=True))
    if kind == "a":
        dtype, dims = dtype_of(rest[0]), rest[1]
        return np.ndarray(dims, dtype, body, rest[2])
    if kind == "s":
        dtype = dtype_of(rest[0])
        return dtype.type(rest[1]) if dtype.kind in "SU" else np.ndarray((), dtype, body, rest[1])[()]
    if kind in "ub":
        data = body[rest[0] : rest[0] + rest[1]]
        return data if kind == "b" else data.decode("utf-8", "surrogatepass")
    if kind == "T":
        dims, offset, nbytes, missing, _ = rest
        count = int(np.prod(dims, dtype=int))
        texts, place = [], offset + 8 * count
        for size in np.ndarray(count, "<i8", body, offset).tolist():
            texts.append(missing if size < 0 else body[place : place + size].decode())
            place += max(0, size)
        assert place == offset + nbytes
        return texts
    if kind == "i":
        return int(rest[0])
    return complex(*rest) if kind == "z" else rest[0]


@pytest.mark.parametrize("where", [0, 1], ids=["shared memory", "tcp"])
def test_a_stranger_takes_an_epoch(where: int) -> None:
    """Every kind of leaf, in order, each batch once; large batches and small ones."""
    for source in ("sources.leaves:Everything", "sources.sized:Large"):
        with Serving("--sequence", source, "--workers", "2", "--bind", "tcp://127.0.0.1:*") as daemon:
            stranger = Stranger(daemon.ready().stats()["endpoints"][where], host="elsewhere", color="red")
            assert stranger.welcome["transport"] == ("frames" if where else "slots")
            taken = list(stranger.epoch())
            assert [index for index, _ in taken] == list(range(stranger.welcome["length"]))
            for index, batch in taken:
                if source.endswith("Large"):
                    assert int(batch[1]) == index
                    assert (batch[0] == index).all()
                    assert batch[0].nbytes == 200_000
                else:
                    compare(batch, index)
            stranger.close()
            assert daemon.stats()["ignored"] == 0


@pytest.mark.parametrize("where", [0, 1], ids=["shared memory", "tcp"])
def test_a_stranger_takes_runs(where: int) -> None:
    """Small batches in ones and in many, each once and in order."""
    source = ("--sequence", "sources.counting:Counting", "--arg", "length=3000")
    with Serving(*source, "--workers", "2", "--max-queue-size", "600", "--bind", "tcp://127.0.0.1:*") as daemon:
        stranger = Stranger(daemon.ready().stats()["endpoints"][where], credit=150)
        taken = list(stranger.epoch())
        assert [index for index, _ in taken] == list(range(3000))
        for index, (array, number) in taken:
            assert (array == index).all()
            assert number == index
        assert stranger.longest > 1
        stranger.close()
        assert daemon.stats()["ignored"] == 0


def compare(batch: dict[Any, Any], index: int) -> None:
    """What `sources.leaves` has made for an index."""
    assert list(batch) == ["values", "long", "scalars", "arrays", "records", 1, b"k", None]
    assert batch["values"] == [None, True, index, 2**64 - 1, -(2**70), 0.5, 1 - 2j, "é", b"\xff"]
    assert batch["long"] == ("x" * 500 + "\udcff", b"y" * 500)
    assert batch["scalars"] == [np.float32(1.5), np.str_("a"), np.bytes_(b"b"), np.datetime64("2020-01-01", "D")]
    big, times, fields, texts, strings = batch["arrays"]
    assert (big.dtype.str, big.tolist()) == (">i2", [index, -2])
    assert (times.dtype.str, times.astype(int).tolist()) == ("<m8[25s]", [1, 2])
    assert [fields["a"].tolist(), fields["b"]["c"].tolist(), fields["b"]["d"].tolist()] == [[1], [2.0], [[[3, 4]]]]
    assert texts.tolist() == ["a", "bc"]
    assert strings == ["x", None, "yz"]
    assert batch["records"] == (("Point", {"x": index, "y": ()}), ("Sample", {"image": [], "name": "n"}))
    assert (batch[1], batch[b"k"], batch[None]) == ((), {}, [])
