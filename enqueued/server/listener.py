"""Sockets of this host on which the daemon is told things in packets: who connects, and what they say."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable

from enqueued.pool.reactor import Reactor

_CREDENTIALS = struct.Struct("3i")
_MOST_AT_ONCE = 64
"""Connections that are accepted before others get their turn."""


class Listener:
    """A listening socket at `path`; `on_peer(sock, pid, uid)` is given each connection, and who is at its other end.

    `line` is how many may wait to be accepted. Raises `OSError` when there can be no socket at `path`.
    """

    def __init__(
        self,
        path: str,
        permissions: int,
        line: int,
        *,
        reactor: Reactor,
        on_peer: Callable[[socket.socket, int, int], None],
    ) -> None:
        self._path = path
        self._reactor = reactor
        self._on_peer = on_peer
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            self._socket.bind(path)
            os.chmod(path, permissions)  # before anybody can connect
            self._socket.listen(line)
        except OSError:
            self._socket.close()
            raise
        reactor.watch(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                sock, _ = self._socket.accept()
            except OSError:  # nobody is left, it has left again, or there is no descriptor for it
                return
            sock.setblocking(False)
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            pid, uid, _ = _CREDENTIALS.unpack(credentials)
            self._on_peer(sock, pid, uid)

    def close(self) -> None:
        """Let nobody in any more, and remove the socket's file."""
        self._reactor.unwatch(self._socket.fileno())
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)


def in_charge(uid: int) -> bool:
    """Whether somebody is the daemon's own user, or root."""
    return uid in (0, os.getuid())


def receive(sock: socket.socket, most_bytes: int) -> bytes | None:
    """The next packet, None when there is none yet, and nothing (``b""``) when the connection has ended."""
    try:
        return sock.recv(most_bytes)
    except BlockingIOError:
        return None
    except OSError:
        return b""
