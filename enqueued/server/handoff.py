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
from enqueued.server.loop import Loop
from enqueued.wire.messages import PROTOCOL

log = logging.getLogger("enqueued.server")

_CREDENTIALS = struct.Struct("3i")
_SO_PEERPIDFD = 77  # linux/socket.h, Linux 6.5
_MOST_BYTES = 256
_MOST_AT_ONCE = 64
"""Connections that are accepted before others get their turn."""


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
        loop: Loop,
        table: SegmentTable,
        most: int,
        on_gone: Callable[[bytes], None],
    ) -> None:
        self.path = path
        self._loop = loop
        self._table = table
        self._most = most
        self._on_gone = on_gone
        self._anyone = bool(permissions & 0o066)
        self._peers: dict[bytes, Peer] = {}
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._listener.bind(path)
        os.chmod(path, permissions)
        self._listener.listen(128)
        loop.watch(self._listener.fileno(), self._accept)

    def __contains__(self, token: bytes | None) -> bool:
        return token in self._peers

    def __len__(self) -> int:
        return len(self._peers)

    def _accept(self) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                sock, _ = self._listener.accept()
            except OSError:  # nobody is left, it has left again, or there is no descriptor for it
                return
            self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if (uid not in (0, os.getuid()) and not self._anyone) or len(self._peers) >= self._most:
            sock.close()
            return
        peer = Peer(sock, pid)
        self._peers[peer.token] = peer
        self._loop.watch(sock.fileno(), lambda: self._hear(peer))
        if peer.pidfd is not None:
            self._loop.watch(peer.pidfd, lambda: self._drop(peer))
        self._send(peer, {"token": peer.token, "pid": os.getpid(), "protocol": PROTOCOL})

    def _hear(self, peer: Peer) -> None:
        try:
            data = peer.socket.recv(_MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
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
        self._loop.unwatch(peer.socket.fileno())
        peer.socket.close()
        if peer.pidfd is not None:
            self._loop.unwatch(peer.pidfd)
            os.close(peer.pidfd)
        self._on_gone(peer.token)

    def close(self) -> None:
        """Close everything and remove the socket's file."""
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()
        for peer in list(self._peers.values()):
            self._drop(peer)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


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
