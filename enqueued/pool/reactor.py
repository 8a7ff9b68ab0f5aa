"""The poll loop that carries a pool, as the pool sees it; the daemon's is one, an in-process enqueuer's another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Reactor(Protocol):
    """Calls back when a descriptor can be read."""

    def watch(self, fd: int, on_readable: Callable[[], None]) -> None:
        """Call `on_readable` whenever `fd` can be read or has reached its end, until `unwatch`."""

    def unwatch(self, fd: int) -> None:
        """Stop watching `fd`; it is called before `fd` is closed."""
