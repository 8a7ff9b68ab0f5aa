"""A client's place in a stream, over one session after another: it outlives the daemon."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from enqueued import errors
from enqueued.batch import Position
from enqueued.client.course import Course
from enqueued.client.lifetimes import watch_over
from enqueued.client.link import Link
from enqueued.client.receipts import Unstable, Witness
from enqueued.client.run import Run
from enqueued.client.search import find
from enqueued.client.staleness import stale
from enqueued.client.state import differences
from enqueued.wire import messages
from enqueued.wire.hello import Claim, Hello
from enqueued.wire.messages import END
from enqueued.wire.places import Place

log = logging.getLogger("enqueued.client")

_MOST_LOSSES = 20


@dataclass(frozen=True)
class Terms:
    """How a client takes; the times are seconds."""

    prefetch: int
    connect_timeout: float
    batch_timeout: float | None
    fixed_epoch: int | None


class Membership:
    """Where a client stands, over one session after another; `course` says where that is, `link` is the session.

    `link` is None before `join` and after `close`. Not for two threads at once.
    """

    def __init__(
        self, places: Sequence[Place], hello: Hello, course: Course, terms: Terms, witnesses: Sequence[Witness]
    ) -> None:
        self.course = course
        self.terms = terms
        self.link: Link | None = None
        self.over = False  # whether the stream has no further batches
        self.step = self.skipped = 0
        self._item: list[Any] = []
        self._run: Run | None = None  # of which something was taken last
        self._quick = False  # whether the batches of a run follow each other, and nobody watches
        self._places = places
        self._hello = hello
        self._split = course.share.split
        self._unstable = Unstable()
        self._witnesses = (self._unstable, *witnesses) if self._split else tuple(witnesses)
        self._pid = os.getpid()
        self._lease: int | None = None
        self._generation = self._losses = 0
        self._begun, self._warned = False, ""
        watch_over(self)

    @property
    def at(self) -> Position:
        """The next position, as far as it is known."""
        return self.course.epoch, self.course.index

    @property
    def item(self) -> list[Any]:
        """What was taken last, as one of BATCHES."""
        return self._item if self._run is None else self._run.item(max(0, self._run.taken - 1))

    def acknowledge(self) -> None:
        """What was yielded is done; the daemon is told with the next `flush` of the link."""
        lease = self._lease
        if lease is not None and self.link is not None:
            for witness in self._witnesses:
                witness.acknowledged(self.item)
            self._lease = None
            self.link.done(lease)

    # -- the connection -----------------------------------------------------------------------------------------

    def join(self, claim: Claim, canary: tuple[int, str] | None = None) -> None:
        """Begin where the claim says, or the daemon. Raises `Refused`, and `ConnectTimeout`."""
        self._item, self._run = [], None
        link = self._connect(claim, canary)
        origin = None if self._split else claim.origin  # a group that lost its daemon does not begin again
        self._hello = replace(self._hello, claim=replace(claim, missing=(), origin=origin))
        base = link.welcome["base"] or (0, 0)
        epoch, index = link.welcome["epoch"], link.welcome["index"]
        self.course.begin(epoch, index, base[1] if base[0] == epoch else 0, [at for _, at in claim.taken])
        for witness in self._witnesses:
            witness.began(link.welcome, self.course, continued=False)

    def probe(self) -> dict[str, Any]:
        """What the daemon says to a client that wants nothing yet."""
        link = find(self._places, replace(self._hello, claim=Claim(start="live")), self.terms.connect_timeout)
        link.close(bye=True)
        return link.welcome

    def _connect(self, claim: Claim, canary: tuple[int, str] | None = None) -> Link:
        hello = replace(self._hello, claim=claim, canary=canary)
        self.link = link = find(self._places, hello, self.terms.connect_timeout)
        self._finalizer = weakref.finalize(self, link.close, bye=True)
        self._finalizer.atexit = False  # then `depart` is called
        welcome, course = link.welcome, self.course
        at = welcome["epoch"], welcome["index"]
        if isinstance(claim.start, tuple) and not self._split and at != claim.start:
            raise errors.ProtocolError(
                f"the daemon begins at {at[0]}:{at[1]} where {claim.start[0]}:{claim.start[1]} was asked for"
            )
        self._generation = welcome["generation"]
        self._item, self._run, self._lease = self.item, None, None
        self._begun = self.over = False
        course.follows = welcome["indexed"] and not self._split
        course.steady = not welcome["hooked"]
        course.window = welcome["reorder_window"]
        self._quick = not self._witnesses and course.share.rank is None and course.window == 0
        course.learn(at[0] if at[0] == 0 else -1, welcome["length"])  # that of a later one may be as yet unknown
        self._credit = max(1, min(self.terms.prefetch + 1, welcome["credit_limit"]))
        self._together = max(1, self._credit // 2)
        if not self._split:
            link.send(messages.CREDIT, self._credit)
        self._credited = not self._split
        if link.local and self._warned != (warning := stale(welcome)):
            self._warned = warning
            if warning:
                log.warning("%s", warning)
        return link

    def open(self) -> Link:
        """The session. Raises `ForkedClient` and `ClosedClient`."""
        if self._pid != os.getpid():
            raise errors.ForkedClient("this client belongs to the process that made it; make a Client in this one")
        if self.link is None:
            raise errors.ClosedClient("this client is closed")
        return self.link

    def reconnect(self, why: str) -> None:
        """Find the daemon again, or its successor, and go on where this trainer was."""
        assert self.link is not None
        self._losses += 1
        if self._losses > _MOST_LOSSES:
            self._losses = 0
            raise errors.ConnectTimeout(
                f"the daemon was lost {_MOST_LOSSES} times without a batch in between, at last: {why}"
            )
        endpoint, before = self.link.place.endpoint, self.link.welcome["fingerprint"]
        log.warning("%s: %s; looking for it for %.0f s", endpoint, why, self.terms.connect_timeout)
        self._finalizer.detach()
        self._unstable.settle(self.link.stable)
        self.link.close()
        link = self._connect_again()
        log.warning("%s: connected again, at %d:%d", link.place.endpoint, *self.at)
        for change in differences(before, link.welcome["fingerprint"]).values():
            log.warning("the stream has changed: %s", change)

    def _connect_again(self) -> Link:
        claim = replace(self._hello.claim, **self.course.claim())
        held = self._lease is not None
        if self._split:
            claim = replace(
                claim,
                generation=self._generation,
                held=((self.item[3], self.item[4]),) if held else (),
                acked=tuple(self._unstable.positions),
            )
        elif held:  # by saying that it goes on behind it
            for witness in self._witnesses:
                witness.acknowledged(self.item)
            self._lease = None
        link = self._connect(claim)
        continued = not self._split or self._generation == claim.generation  # else what was before a reset is void
        if self._split:
            at, length, epoch = self.course.epoch, self.course.length, link.welcome["epoch"]
            if continued and epoch > at and length is not None:  # its end was told by the daemon that is gone
                link.items.appendleft([END, self._generation, at, length])
            self.course.begin(epoch, link.welcome["index"], again=continued)
            self._lease = 0 if held and continued else None  # what is held is this session's first lease
        for witness in self._witnesses:
            witness.began(link.welcome, self.course, continued=continued)
        return link

    def leave(self) -> None:
        """End the session. Arrays that the trainer holds stay valid."""
        link = self.link
        if link is not None and self._pid == os.getpid():
            self.acknowledge()
            self._finalizer.detach()
            link.close(bye=True)

    def close(self) -> None:
        """Leave for good. Again is harmless."""
        self.leave()
        self.link = None

    def depart(self) -> None:
        """Leave because the client was dropped, or the program ends: what it worked on goes to another member."""
        if self.link is not None and self._pid == os.getpid():
            if self.course.share.rank is not None:
                self.acknowledge()  # there is no other, and those that are in step must not wait for it
            self._finalizer.detach()
            self.link.close(bye=True)
            self.link = None

    def __del__(self) -> None:
        with suppress(Exception):  # whatever goes wrong, nobody is there to hear of it
            self.depart()
