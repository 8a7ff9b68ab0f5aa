"""Messages, and descriptors, between two processes of the pool, over a pair of SEQPACKET sockets of their own.

Each worker and each zygote has its own pair: a queue that is shared starves its users when one of them is killed. A
message is one small dict, `KEYS` says which keys there are; the batches themselves lie in the arena.
"""

from __future__ import annotations

import array
import os
import socket
from typing import Any

import msgpack

KEYS = {
    "to a zygote": ("boot", "fork", "next", "quit"),
    "from a zygote": ("ready", "broken", "forked", "exited", "stepped", "progress", "gone"),
    "to a worker": ("make", "free", "grant", "close", "length", "canary", "quit", "renew", "counts"),
    "to the nursery": ("plant",),
    "from the nursery": ("planted", "exited"),
    "from a worker": ("up", "segment", "closed", "made", "failed", "ended", "length", "canary", "need", "broken"),
}
MOST_BYTES = 64 * 1024
_MOST_TEXT = 24_000
"""Bytes of a text that are kept; the middle of a longer one is cut."""
_MOST_FDS = 8
_FD_SPACE = socket.CMSG_SPACE(_MOST_FDS * array.array("i").itemsize)
_WAIT = int(socket.MSG_CMSG_CLOEXEC)
_NOW = int(socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)

Message = dict[str, Any]


def shorten(text: str) -> str:
    """A text of the user's code that fits a message and can be encoded, as a file name of odd bytes cannot."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= _MOST_TEXT:
        return data.decode()
    half = _MOST_TEXT // 2
    first, last = data[:half].decode("utf-8", "ignore"), data[-half:].decode("utf-8", "ignore")
    return f"{first}\n  [... {len(data) - 2 * half} bytes left out ...]\n{last}"


class Channel:
    """One end of a pair. Descriptors that came with a message lie in `fds` until they are taken out."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray(MOST_BYTES)
        self._view = memoryview(self._buffer)
        self.fds: list[int] = []

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """A channel for this process, and the socket for the other one."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(mine), theirs

    def fileno(self) -> int:
        """The descriptor, for polling."""
        return self._socket.fileno()

    def send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Send a message, waiting while the other side's buffer is full. Raises `OSError` when it is gone."""
        data = msgpack.packb(message)
        if fds:
            socket.send_fds(self._socket, [data], fds)
        else:
            self._socket.send(data)

    def try_send(self, message: Message, fds: tuple[int, ...] = ()) -> bool:
        """Send a message unless that would wait; False when it would. Raises `OSError` when the other side is gone."""
        data = msgpack.packb(message)
        try:
            if fds:
                socket.send_fds(self._socket, [data], fds, socket.MSG_DONTWAIT)
            else:
                self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return True

    def receive(self, *, wait: bool) -> Message | None:
        """The next message; None at the end of file. `BlockingIOError` when there is none and `wait` is not set."""
        try:
            size, ancillary, _, _ = self._socket.recvmsg_into([self._buffer], _FD_SPACE, _WAIT if wait else _NOW)
        except ConnectionResetError:
            return None
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                self.fds.extend(fds)
        if size == 0:
            return None
        message: Message = msgpack.unpackb(self._view[:size], strict_map_key=False)
        return message

    def take_fds(self) -> list[int]:
        """The descriptors that came with the last message."""
        fds, self.fds = self.fds, []
        return fds

    def close(self) -> None:
        """Close this end; the other one reads its end of file."""
        for fd in self.take_fds():
            os.close(fd)
        self._socket.close()
