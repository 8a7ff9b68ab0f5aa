"""How fast a connection takes what is sent: the kernel's own count of it."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

_BYTES = 256
_ACKED = struct.Struct("=120xQ")
_BUSY = struct.Struct("=168xQ")
"""Where `tcpi_bytes_acked` and `tcpi_busy_time` (µs) lie in linux/tcp.h's `tcp_info`; older kernels end before."""


class Flow(NamedTuple):
    """What a connection has carried so far: bytes that the peer has, and how long there were any to carry."""

    acked: int
    busy_s: float


class Gauge:
    """Reads the flow of a connection by its descriptor, which belongs to somebody else and may be used anew."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._peer = self._look(lambda sock: sock.getpeername())

    def read(self) -> Flow | None:
        """None where there is no TCP connection, not this one any more, or no such count."""
        found: Flow | None = None if self._peer is None else self._look(self._read)
        return found

    def _read(self, sock: socket.socket) -> Flow | None:
        if sock.getpeername() != self._peer:
            return None
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES)
        if len(info) < _BUSY.size:
            return None
        (acked,), (busy_us,) = _ACKED.unpack_from(info), _BUSY.unpack_from(info)
        return Flow(acked, busy_us / 1e6)

    def _look(self, at: Callable[[socket.socket], Any]) -> Any:
        """Through a descriptor of our own for the moment: kept for longer it would keep the connection open."""
        with contextlib.suppress(OSError):
            descriptor = os.dup(self._descriptor)
            try:
                sock = socket.socket(fileno=descriptor)
            except OSError:
                os.close(descriptor)
                return None
            with sock:
                return at(sock) if sock.family in (socket.AF_INET, socket.AF_INET6) else None
        return None
