"""What wakes an engine's thread."""

from __future__ import annotations

import os
import threading


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
