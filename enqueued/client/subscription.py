"""A client's place in a stream: it takes batches, acknowledges them, and outlives the daemon."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from enqueued import errors
from enqueued.batch import Position
from enqueued.client.course import Course
from enqueued.client.failure import source_error
from enqueued.client.handoff import Gone
from enqueued.client.iteration import ENDED
from enqueued.client.lifetimes import watch_over
from enqueued.client.link import Link
from enqueued.client.patience import await_items
from enqueued.client.receipts import Unstable, Witness
from enqueued.client.run import Run
from enqueued.client.search import find
from enqueued.client.staleness import stale
from enqueued.client.state import differences
from enqueued.codec.decode import decode
from enqueued.wire import messages
from enqueued.wire.hello import Claim, Hello
from enqueued.wire.messages import END, ERROR, OVER
from enqueued.wire.places import Place

log = logging.getLogger("enqueued.client")

_MOST_LOSSES = 20
_END_S = 5.0
_TWO = "two threads use this client at once; give each a Client of its own"
_SKIPPED: Final = object()
"""Stands in the place of a batch that is left out."""


@dataclass(frozen=True)
class Terms:
    """How a client takes; the times are seconds."""

    prefetch: int
    connect_timeout: float
    batch_timeout: float | None
    fixed_epoch: int | None


class Subscription:
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
        self._in_use = threading.RLock()  # a signal's handler may come in the midst of what its thread does
        watch_over(self)

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

    # -- taking -------------------------------------------------------------------------------------------------

    @property
    def at(self) -> Position:
        """The next position, as far as it is known."""
        return self.course.epoch, self.course.index

    @property
    def item(self) -> list[Any]:
        """What was taken last, as one of BATCHES."""
        return self._item if self._run is None else self._run.item(self._run.taken - 1)

    def take(self) -> Any:
        """The next batch's data; `ENDED` at the end of an epoch. Raises `StopIteration` when the stream is over."""
        if not self._in_use.acquire(False):
            raise errors.ClientError(_TWO)
        try:
            run = self._run
            if run is not None and self._quick and run.taken < run.count:
                batch = self._take_quickly(run)
                if batch is not None:
                    return batch
            while True:
                link = self.link or self.open()
                try:
                    item = self.next_item(link)
                    if item[0] == END:
                        return ENDED
                    data = self._unwrap(link, item)
                    if data is not _SKIPPED:
                        return data
                    continue
                except Gone as gone:
                    why = str(gone)  # the error itself would keep this frame, and so the client, alive
                self.reconnect(why)  # not in the except clause, whose error would be told with every later one
        finally:
            self._in_use.release()

    def next_item(self, link: Link) -> list[Any]:
        """The next batch or error, or the end of an epoch; what was yielded before it is acknowledged."""
        if self._lease is not None:
            self.acknowledge()
        if not self._credited:
            self._credited = True
            link.send(messages.CREDIT, self._credit)
        items, course, run = link.items, self.course, self._run
        if run is not None and run.taken < run.count:
            link.flush(self._together)
            item = run.item(run.taken)
            if course.admits(item):
                return item
            raise Gone(f"{course.epoch}:{course.index} is missing before {item[3]}:{item[4]}")
        link.flush(self._together if items else 1)
        while True:
            if not items:
                self._unstable.settle(link.stable)
                if not link.fill(0):
                    if self.over:
                        raise StopIteration
                    link.flush()  # what was dropped as stale holds credit until it is told
                    await_items(link, self.at, self.terms.batch_timeout, course.share, begun=self._begun)
            item = items.popleft()
            kind = item[0]
            if item[2 if kind < END else 1] != self._generation:
                link.drop(item)
            elif kind == OVER:
                self.over = True
                link.flush()  # nothing may be asked for any more
                raise StopIteration
            elif kind == END:
                link.flush()
                if not course.repeats(item[2]):
                    self._end(item[2], item[3])
                    return item
            elif (item[4] == course.index and item[3] == course.epoch) or course.admits(item):
                return item
            else:
                # a signal's handler that raises can make a batch get lost between socket and trainer
                raise Gone(f"{course.epoch}:{course.index} is missing before {item[3]}:{item[4]}")

    def _take_quickly(self, run: Run) -> Any:
        """The next batch of a run; None when there is more to be seen to."""
        link, course, index = self.link, self.course, run.index + run.taken
        if link is None or index != course.index or course.ahead or link.untold >= 2 * self._together - 1:
            return None
        if self._lease is not None:
            link.done(self._lease)
        self._lease = run.lease + run.taken
        course.index = index + 1
        self.step += 1
        return run.take()

    def _unwrap(self, link: Link, item: list[Any]) -> Any:
        run = item[6] if type(item[6]) is Run else None
        root = None
        if run is not None:
            if run.unread:
                link.read(run)
            root = run.root() if self._witnesses else None
        elif item[0] != ERROR:
            root = link.root(item, copy=link.views.alive >= self._credit - 1)
        for witness in self._witnesses:
            witness.took(item, root)
        self._item, self._run = item, run
        self._lease = item[1]
        self.course.take(item[3], item[4])
        if self._losses or not self._begun:
            self._losses, self._begun = 0, True
        if run is not None:
            self.step += 1
            return run.take()
        if root is None:
            return self._fail(link, item)
        self.step += 1
        return decode(root)

    def _fail(self, link: Link, item: list[Any]) -> Any:
        """A batch that could not be made is left out, if that was asked of the daemon, or raised."""
        self.acknowledge()
        told, epoch, index = item[6], item[3], item[4]
        if told.get("kind") != "skipped" or self.course.share.rank is not None:
            self.step += 1
            raise source_error(told, link.welcome["check"], epoch, index)
        self.skipped += 1
        if self.skipped & (self.skipped - 1) == 0:
            log.warning(
                "%d:%d is skipped, %d in all so far: %.500s", epoch, index, self.skipped, told.get("message", "")
            )
        return _SKIPPED

    def _end(self, epoch: int, length: int) -> None:
        course = self.course
        if not course.end(epoch, length):
            raise Gone(f"{course.epoch}:{course.index} is missing before the end of epoch {epoch}")
        for witness in self._witnesses:
            witness.ended(epoch, length)
        assert self.link is not None
        items = self.link.items
        if self.terms.fixed_epoch is not None:
            self.seek(self.terms.fixed_epoch)  # now, so that the daemon makes nothing that is not wanted
        elif items and items[0][0] == OVER:
            self.over = True

    def end_is_known(self) -> bool:
        """Whether this client has had all of its epoch; where epochs differ, what comes next is looked at."""
        course, link = self.course, self.open()
        if course.spent and not course.sure:
            try:
                if link.fill(_END_S) and link.items[0][:3] == [END, self._generation, course.epoch]:
                    course.learn(course.epoch, link.items[0][3])
            except Gone as gone:
                self.reconnect(str(gone))
        return course.spent and course.sure

    # -- acknowledging ------------------------------------------------------------------------------------------

    def acknowledge(self) -> None:
        """What was yielded is done; the daemon is told with the next `flush` of the link."""
        lease = self._lease
        if lease is not None and self.link is not None:
            for witness in self._witnesses:
                witness.acknowledged(self.item)
            self._lease = None
            self.link.done(lease)

    def rest(self) -> None:
        """As many batches were taken as were asked for: the last one is done."""
        self.acknowledge()
        self.flush()

    def done(self, step: int) -> None:
        """The batch that was yielded as the so-manieth is done, and the daemon is told at once."""
        if step == self.step and self._lease is not None and self.link is not None:
            self.acknowledge()
            self.flush()

    def flush(self) -> None:
        """Tell the daemon what is done."""
        try:
            self.open().flush()
        except Gone as gone:
            self.reconnect(str(gone))

    # -- moving -------------------------------------------------------------------------------------------------

    def seek(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        link = self.open()
        self._generation += 1
        self._item, self._run = self.item, None
        self.course.begin(epoch, self.course.share.rank or 0)
        self.over = False
        try:
            link.flush()
            link.send(messages.SEEK, self._generation, epoch, 0)
        except Gone as gone:
            self.reconnect(str(gone))
        for witness in self._witnesses:
            witness.began(self.open().welcome, self.course, continued=False)

    def take_end(self) -> None:
        """An epoch was taken to its last batch, and its end never asked for: Keras takes exactly `len` batches."""
        before = self.course.epoch
        try:
            link = self.open()
            item = self.next_item(link)
        except StopIteration:
            return
        except Gone as gone:
            self.course.begin(before + 1, self.course.share.rank or 0)
            self.reconnect(str(gone))
            return
        if item[0] != END:  # the epoch is longer than the last one was
            link.drop(item)
            self.seek(before + 1)

    def ask(self, what: str, *argument: int) -> Any:
        """The daemon's answer to a question, None if there is none. Raises `ClientError` as `alone` does."""
        with self.alone():
            while True:
                try:
                    return self.open().ask(what, *argument, within_s=5.0)
                except Gone as gone:
                    self.reconnect(str(gone))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other threads from taking meanwhile. Raises `ClientError` where one does: a socket is for one only."""
        if not self._in_use.acquire(False):
            raise errors.ClientError(_TWO)
        try:
            yield
        finally:
            self._in_use.release()
