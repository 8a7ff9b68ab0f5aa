"""The daemon's one thread: a poll loop over sockets and descriptors. Nothing that it calls may block."""

from __future__ import annotations

from collections.abc import Callable

import zmq


class Loop:
    """Calls back when a ZeroMQ socket or a descriptor can be read.

    A plain `zmq.Poller`: zmq.asyncio reaches less than half its rate.
    """

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._callbacks: dict[object, Callable[[], None]] = {}

    def watch(self, fd: int, on_readable: Callable[[], None]) -> None:
        """Call `on_readable` whenever the descriptor can be read or has reached its end."""
        self._poller.register(fd, zmq.POLLIN)
        self._callbacks[fd] = on_readable

    def unwatch(self, fd: int) -> None:
        """Stop watching a descriptor; again is harmless."""
        if self._callbacks.pop(fd, None) is not None:
            self._poller.unregister(fd)

    def watch_socket(self, socket: zmq.Socket[bytes], on_readable: Callable[[], None]) -> None:
        """The same for a ZeroMQ socket."""
        self._poller.register(socket, zmq.POLLIN)
        self._callbacks[socket] = on_readable

    def turn(self, most_s: float) -> None:
        """Wait for something to happen, for so long at most, and call back for all that has."""
        for ready, _ in self._poller.poll(int(most_s * 1000)):
            callback = self._callbacks.get(ready)  # an earlier callback of this turn may have unwatched it
            if callback is not None:
                callback()
