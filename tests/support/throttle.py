"""A slow line: a TCP proxy that lets so many bytes a second through, and counts them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

_PIECE = 16 * 1024
_BUFFER = 64 * 1024


class Throttle:
    """Carries connections to `target` (``"tcp://127.0.0.1:5555"``) and back; `endpoint` is where it listens.

    What comes from the target comes at `bytes_per_s`, what goes there at any rate. `carried` counts the former. A
    context manager; `cut` ends every connection, and `cuts` counts that.
    """

    def __init__(self, target: str, bytes_per_s: float) -> None:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (host, int(port))
        self._bytes_per_s = bytes_per_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.carried = 0
        self.cuts = 0
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self._next = time.monotonic()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket()
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)  # a line holds little, so the sender notices
            try:
                far.connect(self._target)
            except OSError:
                near.close()
                far.close()
                continue
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._carry, args=(source, sink, source is far)))
                self._threads[-1].start()

    def _carry(self, source: socket.socket, sink: socket.socket, slow: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE):
                if slow:
                    self._pace(len(data))
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _pace(self, nbytes: int) -> None:
        """Wait until the line has carried what came before: all connections share it."""
        with self._turn:
            self.carried += nbytes
            now = time.monotonic()
            self._next = max(now, self._next) + nbytes / self._bytes_per_s
            wait_s = self._next - now
        self._stop.wait(wait_s)

    def cut(self) -> None:
        """End every connection that there is."""
        self.cuts += 1
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join()
        for sock in [self._listener, *self._sockets]:
            sock.close()
