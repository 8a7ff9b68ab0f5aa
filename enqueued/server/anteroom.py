"""Who has said HELLO and cannot be let in yet: the source is being loaded, or somebody has to leave first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from enqueued.pool.feed import Feed
from enqueued.server.endpoint import Endpoint, Incoming
from enqueued.stream.roster import NotYet
from enqueued.wire.hello import Hello
from enqueued.wire.messages import ANSWER, LOADING, pack

_LOOK_S = 0.05


@dataclass
class Early:
    """One of them; `until` is when it is refused, and `why` what it was told last."""

    endpoint: Endpoint
    incoming: Incoming
    hello: Hello
    feed: Feed
    until: float | None = None
    why: str = ""
    suspect_until: float = 0.0
    """Until then it is probed, because a connection with its number has ended: it, or one that had that before."""

    def listens(self) -> bool:
        """Whether it is still there; what it is sent for that it ignores."""
        return self.endpoint.send(self.incoming.peer, pack(ANSWER, "probe", None)) is not None

    def tell(self, why: str) -> None:
        """Say what is waited for, once."""
        if why != self.why:
            self.why = why
            self.endpoint.send(self.incoming.peer, pack(LOADING, why))


class Anteroom:
    """Those who wait; `admit` lets one in, or raises `NotYet`, or answers it otherwise."""

    def __init__(self, admit: Callable[[Early], None], refuse: Callable[[Early, str], None]) -> None:
        self._admit = admit
        self._refuse = refuse
        self._waiting: list[Early] = []
        self._looked = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Early]:
        return iter(self._waiting)

    def knows(self, peer: bytes) -> bool:
        """Whether this peer waits."""
        return any(early.incoming.peer == peer for early in self._waiting)

    def enter(self, early: Early) -> None:
        """Somebody has come: let it in, or have it wait."""
        if not self._try(early):
            self._waiting.append(early)

    def tick(self, now: float) -> None:
        """Try those again who wait, in the order in which they came."""
        if self._waiting and now - self._looked >= _LOOK_S:
            self._looked = now
            self.drop(lambda early: now < early.suspect_until and not early.listens())
            self._waiting = [early for early in self._waiting if not self._try(early)]

    def suspect(self, connection: int, until: float) -> None:
        """A connection has ended."""
        for early in self._waiting:
            if early.incoming.connection == connection:
                early.suspect_until = until

    def drop(self, gone: Callable[[Early], bool]) -> None:
        """Somebody has left."""
        self._waiting = [early for early in self._waiting if not gone(early)]

    def _try(self, early: Early) -> bool:
        """Whether the matter is settled, one way or the other."""
        if not early.feed.ready:
            early.tell(early.feed.waiting_for())
            return False
        try:
            self._admit(early)
        except NotYet as error:
            now = time.monotonic()
            early.until = now + error.within_s if early.until is None else early.until
            if now < early.until:
                early.tell(str(error))
                return False
            self._refuse(early, str(error))
        return True
