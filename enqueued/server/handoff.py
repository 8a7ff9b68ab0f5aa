"""The hand-off: descriptors of segments to clients on this host, and their liveness."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import struct
from collections.abc import Callable

import msgpack

from enqueued.arena.table import SegmentTable
from enqueued.pool.reactor import Reactor
from enqueued.server.listener import Listener, in_charge, receive
from enqueued.wire.messages import PROTOCOL

log = logging.getLogger("enqueued.server")

_SO_PEERPIDFD = 77  # linux/socket.h, Linux 6.5
_MOST_BYTES = 256
_LINE = 128
"""Connections that may wait to be accepted."""


class Peer:
    """One client process, as far as its hand-off connection tells."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self.socket = sock
        self.token = secrets.token_bytes(16)
        self.pidfd = _pidfd(sock, pid)


class HandOff:
    """The listening socket and its peers. `on_gone(token)` is called when a peer's process or connection has ended."""

    def __init__(
        self,
        path: str,
        permissions: int,
        *,
        reactor: Reactor,
        table: SegmentTable,
        most: int,
        on_gone: Callable[[bytes], None],
    ) -> None:
        self._reactor = reactor
        self._table = table
        self._most = most
        self._on_gone = on_gone
        self._anyone = bool(permissions & 0o066)
        self._peers: dict[bytes, Peer] = {}
        self._listener = Listener(path, permissions, _LINE, reactor=reactor, on_peer=self._admit)

    def __contains__(self, token: bytes | None) -> bool:
        return token in self._peers

    def __len__(self) -> int:
        return len(self._peers)

    def _admit(self, sock: socket.socket, pid: int, uid: int) -> None:
        if not (self._anyone or in_charge(uid)) or len(self._peers) >= self._most:
            sock.close()
            return
        peer = Peer(sock, pid)
        self._peers[peer.token] = peer
        self._reactor.watch(sock.fileno(), lambda: self._hear(peer))
        if peer.pidfd is not None:
            self._reactor.watch(peer.pidfd, lambda: self._drop(peer))
        self._send(peer, {"token": peer.token, "pid": os.getpid(), "protocol": PROTOCOL})

    def _hear(self, peer: Peer) -> None:
        data = receive(peer.socket, _MOST_BYTES)
        if data is None:
            return
        if not data:
            self._drop(peer)
            return
        try:
            wanted = msgpack.unpackb(data)["want"]
        except Exception:  # whatever it sent, it is not the protocol
            self._drop(peer)
            return
        found = self._table.descriptor(wanted) if type(wanted) is int else None
        if found is None:
            self._send(peer, {"segment": wanted, "gone": True})
        else:
            fd, size = found
            self._send(peer, {"segment": wanted, "size": size}, fd)

    def _send(self, peer: Peer, message: dict[str, object], *fds: int) -> None:
        try:
            socket.send_fds(peer.socket, [msgpack.packb(message)], list(fds))
        except OSError:  # gone, or it does not read what it asks for
            self._drop(peer)

    def _drop(self, peer: Peer) -> None:
        if self._peers.pop(peer.token, None) is None:
            return
        self._reactor.unwatch(peer.socket.fileno())
        peer.socket.close()
        if peer.pidfd is not None:
            self._reactor.unwatch(peer.pidfd)
            os.close(peer.pidfd)
        self._on_gone(peer.token)

    def close(self) -> None:
        """Close everything and remove the socket's file."""
        self._listener.close()
        for peer in list(self._peers.values()):
            self._drop(peer)


def _pidfd(sock: socket.socket, pid: int) -> int | None:
    """A descriptor that becomes readable when the peer's process ends, also while a forked child keeps its socket."""
    with contextlib.suppress(OSError):
        fd = struct.unpack("i", sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, 4))[0]
        os.set_inheritable(fd, False)
        return int(fd)
    if pid > 0:
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return None
