"""A poll loop over descriptors: what carries a pool, in the daemon's thread or in an in-process enqueuer's."""

from __future__ import annotations

import select
from collections.abc import Callable


class Reactor:
    """Calls back when a descriptor can be read. Nothing that it calls may block."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, on_readable: Callable[[], None]) -> None:
        """Call `on_readable` whenever `fd` can be read or has reached its end, until `unwatch`."""
        self._epoll.register(fd, select.EPOLLIN)
        self._callbacks[fd] = on_readable

    def unwatch(self, fd: int) -> None:
        """Stop watching `fd`, which is not closed yet; again is harmless."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def turn(self, most_s: float) -> bool:
        """Wait for something to happen, for so long at most, and call back for all that has; whether anything has."""
        ready = self._epoll.poll(most_s)
        for fd, _ in ready:
            callback = self._callbacks.get(fd)  # an earlier callback of this turn may have unwatched it
            if callback is not None:
                callback()
        return bool(ready)

    def close(self) -> None:
        """Watch nothing any more."""
        self._epoll.close()
