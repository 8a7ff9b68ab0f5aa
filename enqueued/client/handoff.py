"""The client's end of the hand-off: it learns its token, asks for segments, and notices when the daemon is gone."""

from __future__ import annotations

import array
import os
import socket
import struct
from typing import Any

import msgpack

from enqueued.errors import ProtocolError
from enqueued.wire.messages import PROTOCOL
from enqueued.wire.places import HAND_OFF, Place, distrusted

_ANSWER_S = 10.0
_FD_SPACE = socket.CMSG_SPACE(array.array("i").itemsize)


class Gone(Exception):
    """The daemon is not there, or no longer; the text says why."""


class Anchor:
    """Holds the connection open for as long as this client, or an array over one of its segments, lives.

    The daemon frees a client's slots when the connection ends, so every mapping of a segment keeps its anchor.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.fd = sock.detach()

    def __del__(self) -> None:
        os.close(self.fd)


class HandOff:
    """A connection to the hand-off socket at `path`. Raises `OSError` when nobody listens there."""

    def __init__(self, path: str) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            # the kernel's own limit: with Python's, a listener whose line is full would be an error at once
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(_ANSWER_S), 0))
            sock.connect(path)
        except BaseException:
            sock.close()
            raise
        self.anchor = Anchor(sock)
        hello, fds = self._receive()
        for fd in fds:
            os.close(fd)
        self.token, self.pid = hello.get("token"), hello.get("pid")
        if hello.get("protocol") != PROTOCOL or not isinstance(self.token, bytes):
            raise ProtocolError(
                f"the daemon at {path} speaks protocol {hello.get('protocol')!r}, this client {PROTOCOL}"
            )

    def segment(self, number: int) -> tuple[int, int]:
        """The descriptor and size of a segment."""
        with socket.socket(fileno=os.dup(self.anchor.fd)) as sock:
            sock.send(msgpack.packb({"want": number}))
        answer, fds = self._receive()
        if len(fds) != 1 or answer.get("segment") != number or type(answer.get("size")) is not int:
            for fd in fds:
                os.close(fd)
            raise ProtocolError(f"the daemon does not hand segment {number} over: {answer!r:.100}")
        return fds[0], answer["size"]

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        with socket.socket(fileno=os.dup(self.anchor.fd)) as sock:
            sock.settimeout(_ANSWER_S)
            data, ancillary, _, _ = sock.recvmsg(256, _FD_SPACE, socket.MSG_CMSG_CLOEXEC)
        fds = array.array("i")
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(value[: len(value) - len(value) % fds.itemsize])
        if not data:
            raise ConnectionResetError("the daemon has closed the hand-off connection")
        try:
            message = msgpack.unpackb(data)
        except Exception as error:
            for fd in fds:
                os.close(fd)
            raise ProtocolError(f"the hand-off socket says {data!r:.100}: {error}") from None
        return (message if isinstance(message, dict) else {}), list(fds)


def reach(place: Place) -> HandOff | None:
    """A connection to the hand-off of a daemon on this host, None for one elsewhere. Raises `Gone`."""
    if place.path is None:
        return None
    if distrusted(place.path):
        raise Gone("the folder belongs to another user, or everybody may write to it")
    try:
        return HandOff(place.path + HAND_OFF)
    except FileNotFoundError:
        raise Gone("there is no socket") from None
    except ConnectionRefusedError:
        raise Gone("a socket is left, but no daemon listens to it") from None
    except PermissionError:
        raise Gone("this user may not connect to it (see --socket-mode, and the group of the socket)") from None
    except OSError as error:
        raise Gone(f"the hand-off failed: {error}") from None
