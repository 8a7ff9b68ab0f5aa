"""Asking a daemon of this host, over its control socket, for what only its own user may have done."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import struct
from types import TracebackType
from typing import Any, Self

from enqueued.client.handoff import Gone
from enqueued.client.search import nobody, where_to_look
from enqueued.errors import ConnectTimeout, ProtocolError, Refused
from enqueued.wire.control import CONTROL, GROUPS, MOST_BYTES, Request, unpack_answer
from enqueued.wire.places import Place, distrusted


class Control:
    """A connection to the control socket of the daemon at an address, or of that name on this host.

    `stream` is the stream that the address names, or None. Raises `ConnectTimeout` that lists the places tried.
    """

    def __init__(self, endpoint: str | None = None, timeout_s: float = 5.0, *, name: str | None = None) -> None:
        tried = []
        candidates = where_to_look(endpoint, name)[0]
        for place in candidates:
            try:
                self._socket = _connect(place, timeout_s)
            except Gone as gone:
                tried.append(f"{place.endpoint}: {gone}")
                continue
            self.stream = place.stream
            self.endpoint = place.endpoint
            return
        raise ConnectTimeout(nobody(tried, candidates, timeout_s))

    def ask(self, request: Request) -> Any:
        """The answer to a request. Raises `Refused` when the daemon says no, `ConnectTimeout` when it says nothing."""
        with contextlib.suppress(BrokenPipeError):  # it has closed already, and said why
            self._socket.send(request.pack())
        try:
            data = self._receive()
        except TimeoutError:
            raise ConnectTimeout(f"the daemon at {self.endpoint} did not answer in time") from None
        if not data:
            raise ConnectTimeout(f"the daemon at {self.endpoint} ended while it was asked")
        try:
            value, error = unpack_answer(data)
        except ProtocolError as malformed:
            raise ProtocolError(f"the control socket of {self.endpoint}: {malformed}") from None
        if error is not None:
            raise Refused(error)
        return value

    def _receive(self) -> bytes:
        for _ in range(
            2
        ):  # one that closes and leaves a request unread resets first, and what it said comes after that
            with contextlib.suppress(ConnectionError):
                return self._socket.recv(MOST_BYTES + 1)
        return b""

    def groups(self, stream: str | None = None) -> list[dict[str, Any]]:
        """Every group, or those of one stream; long lists come in several answers."""
        rows: list[dict[str, Any]] = []
        while True:
            answer = self.ask(Request(GROUPS, stream, first=len(rows)))
            rows += answer["groups"]
            if not answer["groups"] or len(rows) >= answer["total"]:
                return rows

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _connect(place: Place, timeout_s: float) -> socket.socket:
    if place.path is None:
        raise Gone("a daemon is controlled on its own host, over ipc://")
    if distrusted(place.path):
        raise Gone("the folder belongs to another user, or everybody may write to it")
    path = place.path + CONTROL
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        # the kernel's own limit: with Python's, a listener whose line is full would be an error at once
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", max(1, math.ceil(timeout_s)), 0))
        sock.connect(path)
        sock.settimeout(timeout_s)
    except FileNotFoundError:
        reason = "there is no socket" if not os.path.exists(place.path) else "this daemon has no control socket"
    except ConnectionRefusedError:
        reason = "a socket is left, but no daemon listens to it"
    except PermissionError:
        reason = f"this daemon is another user's, and only {_owner(path)} may control it"
    except OSError as error:
        reason = f"the control socket failed: {error}"
    else:
        return sock
    sock.close()
    raise Gone(reason)


def _owner(path: str) -> str:
    try:
        uid = os.stat(path).st_uid
    except OSError:  # nor may it be looked at
        return "that user"
    return f"uid {uid} and root" if uid else "root"
