"""A daemon that speaks the protocol and says what a test wants it to say."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import msgpack
import numpy as np
import zmq

from enqueued.arena.segment import create_segment
from enqueued.codec.encode import encode

Reply = Callable[["FakeDaemon", list[Any]], None]
WELCOME = {
    "stream": "fake",
    "transport": "slots",
    "kind": "sequence",
    "source": "no:where",
    "indexed": True,
    "length": 5,
    "epoch": 0,
    "index": 0,
    "credit_limit": 4096,
}


def encoded(batch: Any) -> bytes:
    """The bytes of an encoded batch."""
    found = encode(batch)
    target = bytearray(found.nbytes)
    found.write_into(memoryview(target))
    return bytes(target)


class FakeDaemon:
    """Answers HELLO with `welcome`, and CREDIT with what `on_credit` sends; `hand_over` says what a wanted segment is.

    `welcome` may be a function of what HELLO says, and each of `answers` one of the question's argument. A context
    manager with a thread of its own. `heard` collects what clients said.
    """

    def __init__(
        self,
        on_credit: Reply | None = None,
        *,
        welcome: Any = WELCOME,
        first: bytes | None = None,
        hand_over: Callable[[int], tuple[Any, list[int]] | None] | None = None,
        answers: dict[str, Any] | None = None,
    ) -> None:
        self.folder = tempfile.mkdtemp(prefix="enq-fake-")
        self.endpoint = f"ipc://{self.folder}/d.sock"
        self.heard: list[list[Any]] = []
        self.peer = b""
        self.answers = answers or {}
        self._on_credit = on_credit
        self._welcome = welcome
        self._first = first
        self._hand_over = hand_over or self.segment
        self._segments: dict[int, tuple[int, int]] = {}
        self._unsent: deque[tuple[bytes, ...]] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.bind(self.endpoint)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(f"{self.folder}/d.sock.fds")
        self._listener.listen()
        self._peers: list[socket.socket] = []

    @property
    def hellos(self) -> list[dict[str, Any]]:
        """What clients said when they began a session."""
        return [message[1] for message in self.heard if message[0] == "HELLO"]

    def put(self, number: int, data: bytes, size: int = 1 << 20) -> None:
        """Make a segment that begins with these bytes."""
        fd, memory = create_segment("fake", size)
        memory[: len(data)] = data
        self._segments[number] = (fd, size)

    def segment(self, number: int) -> tuple[Any, list[int]] | None:
        """What an honest daemon hands over."""
        if number not in self._segments:
            return {"segment": number, "gone": True}, []
        fd, size = self._segments[number]
        return {"segment": number, "size": size}, [fd]

    def send(self, verb: str, *fields: Any, frames: tuple[bytes, ...] = ()) -> None:
        """Say something to the client that was heard last."""
        self.send_raw(msgpack.packb([verb, *fields]), *frames)

    def send_raw(self, *frames: bytes) -> None:
        """Say anything. A socket belongs to one thread, so what others say is said by that of this daemon."""
        self._unsent.append((self.peer, *frames))
        if threading.current_thread() is self._thread:
            self._send_all()

    def _send_all(self) -> None:
        while self._unsent:
            self._router.send_multipart(self._unsent.popleft())

    def _run(self) -> None:
        poller = zmq.Poller()
        for one in (self._router, self._listener.fileno()):
            poller.register(one, zmq.POLLIN)
        while not self._stop.is_set():
            self._send_all()
            for ready, _ in poller.poll(20):
                if ready is self._router:
                    self._hear()
                elif ready == self._listener.fileno():
                    peer, _ = self._listener.accept()
                    self._peers.append(peer)
                    poller.register(peer.fileno(), zmq.POLLIN)
                    greeting = {"token": b"t" * 16, "pid": 1, "protocol": 1}
                    peer.send(msgpack.packb(greeting) if self._first is None else self._first)
                else:
                    self._serve(next(peer for peer in self._peers if peer.fileno() == ready), poller)

    def _hear(self) -> None:
        self._send_all()  # a test that has said something, and then has the client ask, relies on that order
        self.peer, data = self._router.recv_multipart()
        message = msgpack.unpackb(data)
        self.heard.append(message)
        if message[0] == "HELLO":
            self.send("WELCOME", self._welcome(message[1]) if callable(self._welcome) else self._welcome)
        elif message[0] == "CREDIT" and self._on_credit is not None:
            self._on_credit(self, message)
        elif message[0] == "ASK":
            answer = self.answers.get(message[1])
            self.send("ANSWER", message[1], answer(*message[2:]) if callable(answer) else answer)
        elif message[0] == "BYE":
            self.send("GONE", "goodbye")

    def _serve(self, peer: socket.socket, poller: zmq.Poller) -> None:
        data = peer.recv(256)
        if not data:
            poller.unregister(peer.fileno())
            self._peers.remove(peer)
            peer.close()
            return
        answer = self._hand_over(msgpack.unpackb(data)["want"])
        if answer is not None:
            message, fds = answer
            packet = message if isinstance(message, bytes) else msgpack.packb(message)
            with contextlib.suppress(OSError):
                socket.send_fds(peer, [packet], fds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for peer in [*self._peers, self._listener]:
            peer.close()
        for fd, _ in self._segments.values():
            os.close(fd)
        self._router.close(0)
        self._context.term()
        shutil.rmtree(self.folder)


def honest(**more: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A `welcome` to just where the client says that it was; `more` is said, too."""

    def welcome(hello: dict[str, Any]) -> dict[str, Any]:
        start = hello.get("start", "first")
        epoch, index = start if isinstance(start, list) else (0, hello.get("rank") or 0)
        return {**WELCOME, "epoch": epoch, "index": index, "base": hello.get("base"), **more}

    return welcome


def frames(*positions: tuple[int, int], lease: int = 0, generation: int = 0, flags: int = 0) -> list[list[int]]:
    """Items of BATCHES for small batches, which travel as frames."""
    return [[1, lease + number, generation, *at, flags, 1, 64] for number, at in enumerate(positions)]


def big(value: int = 7) -> bytes:
    """An encoded batch that is large enough to be seen where it lies."""
    return encoded(np.full(100_000, value, np.uint8))
