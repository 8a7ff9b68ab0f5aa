"""What an engine's thread waits with, and what wakes it."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable


class Bell:
    """Wakes a thread that waits for descriptors. It may be rung at any time, from any thread and signal handler."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.RLock()

    def ring(self) -> None:
        """Wake it, or have it not fall asleep the next time."""
        with self._lock:
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def hear(self) -> None:
        """It has been heard."""
        os.eventfd_read(self.fd)

    def close(self) -> None:
        """It wakes nobody any more; again is harmless."""
        with self._lock:
            fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class Loop:
    """Calls back when a descriptor can be read."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, on_readable: Callable[[], None]) -> None:
        self._epoll.register(fd, select.EPOLLIN)
        self._callbacks[fd] = on_readable

    def unwatch(self, fd: int) -> None:
        if self._callbacks.pop(fd, None) is not None:  # again is harmless
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
