"""The daemon's one thread: a poll loop over descriptors, ZeroMQ's among them. Nothing that it calls may block."""

from __future__ import annotations

from collections.abc import Callable

from enqueued.pool.reactor import Reactor


class Loop(Reactor):
    """A `Reactor` that waits for ZeroMQ sockets, too.

    The descriptor of such a socket tells only that there is news, and who sends may take it in on the way (ZMQ_FD in
    zmq_getsockopt(3)); so a socket is asked before each wait. zmq.Poller asks all of them after it, too, and hands
    every descriptor to the kernel each time; zmq.asyncio reaches less than half its rate.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sockets: dict[int, tuple[Callable[[], bool], Callable[[], None]]] = {}

    def watch_socket(self, fd: int, is_readable: Callable[[], bool], on_readable: Callable[[], None]) -> None:
        """Call back when something can be received from a ZeroMQ socket, whose descriptor is `fd`."""
        self.watch(fd, on_readable)
        self._sockets[fd] = is_readable, on_readable

    def unwatch(self, fd: int) -> None:
        super().unwatch(fd)
        self._sockets.pop(fd, None)

    def turn(self, most_s: float) -> bool:
        waiting = False
        for is_readable, on_readable in list(self._sockets.values()):
            if is_readable():
                waiting = True
                on_readable()
        return super().turn(0.0 if waiting else most_s) or waiting
