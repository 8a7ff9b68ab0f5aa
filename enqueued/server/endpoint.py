"""The ROUTER socket of one address: the only file of the daemon, besides the loop, that knows ZeroMQ."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import zmq
from zmq.utils.monitor import recv_monitor_message

from enqueued.errors import AddressInUse, ConfigError
from enqueued.server.loop import Loop
from enqueued.wire.messages import MOST_BYTES
from enqueued.wire.places import LOOPBACK_BUFFER, is_loopback

_HEARTBEAT_MS = 1000
_HEARTBEAT_TIMEOUT_MS = 2000
_HANDSHAKE_MS = 3000
_MOST_AT_ONCE = 200
"""Messages that are read from one socket before the others get their turn."""


_INPUT = int(zmq.POLLIN)
_NOW = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)


class Incoming(NamedTuple):
    """A message: who sent it, and what."""

    sender: zmq.Frame
    data: bytes

    @property
    def peer(self) -> bytes:
        """The sender's name."""
        return self.sender.bytes

    @property
    def connection(self) -> int:
        """The descriptor that it came by; -1 where ZeroMQ does not say, as for a peer that greets as of old."""
        try:
            return int(self.sender.get(zmq.SRCFD))
        except zmq.ZMQError:
            return -1


class Endpoint:
    """A bound ROUTER. `on_lost(connection)` is called when a connection ends; a ROUTER itself never names it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, on_lost: Callable[[int], None]) -> None:
        self._socket = context.socket(zmq.ROUTER)
        self._on_lost = on_lost
        self.messages = 0
        """How many were received and sent."""
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MOST_BYTES)
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
        if address.startswith("tcp://"):
            self._socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
            self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _HEARTBEAT_TIMEOUT_MS)
            self._socket.setsockopt(zmq.HEARTBEAT_TTL, _HEARTBEAT_TIMEOUT_MS)
            self._socket.setsockopt(zmq.IPV6, int("[" in address))
        if is_loopback(address):
            self._socket.setsockopt(zmq.SNDBUF, LOOPBACK_BUFFER)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            if error.errno == zmq.EADDRINUSE:
                raise AddressInUse(f"{address} is in use by another program; choose another address") from None
            raise ConfigError(f"{address} cannot be bound: {error}") from None
        self.address: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def watch(self, loop: Loop, on_readable: Callable[[], None]) -> None:
        """Have the loop call back for messages and for connections that end."""
        loop.watch_socket(self._socket.fileno(), self.is_readable, on_readable)
        loop.watch(self._monitor.fileno(), self._read_monitor)
        self._read_monitor()  # its descriptor tells only whoever has found nothing there

    def is_readable(self) -> bool:
        """Whether something has come."""
        events: int = self._socket.getsockopt(zmq.EVENTS)  # type: ignore[assignment]  # the option's own type
        return events & _INPUT != 0

    def _read_monitor(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                event = recv_monitor_message(self._monitor, zmq.NOBLOCK)
                if event["event"] == zmq.EVENT_DISCONNECTED:
                    self._on_lost(event["value"])

    def receive(self) -> Iterator[Incoming]:
        """The messages that have come; one of more or fewer frames than two is none, and counts as empty."""
        receive = self._socket.recv
        for _ in range(_MOST_AT_ONCE):
            if not self.is_readable():  # to be told so by an exception costs twice as much
                return
            sender = frame = receive(_NOW, copy=False)
            count = 1
            while frame.more:
                frame = receive(_NOW, copy=False)
                count += 1
            self.messages += 1
            yield Incoming(sender, frame.bytes if count == 2 else b"")

    def send(self, peer: bytes, data: bytes, frames: Sequence[memoryview] = ()) -> Sent | None:
        """Send a message, the frames without a copy; None when the peer is gone, or reads nothing any more.

        The frames' memory may be reused once the result says `over`: when these very views are not held any more, by
        ZeroMQ or by the caller.
        """
        self.messages += 1
        try:
            send = self._socket.send
            send(peer, _MORE)
            send(data, _MORE if frames else _NOW)
            for n, frame in enumerate(frames, 1):
                send(frame, _MORE if n < len(frames) else _NOW, copy=False)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                return None
            raise
        return Sent([weakref.ref(frame) for frame in frames])

    def close(self) -> None:
        """Send what is under way, for a moment, and close."""
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close()


class Sent:
    """A message under way: pyzmq lets go of a view when ZeroMQ has read it. A tracker says the same for three locks."""

    def __init__(self, views: list[weakref.ref[memoryview]]) -> None:
        self._views = views

    @property
    def over(self) -> bool:
        """Whether its memory is not needed any more."""
        views = self._views
        while views and views[-1]() is None:
            views.pop()
        return not views
