"""What a trainer takes from its place in a stream: batches in order, acknowledged when the next one is asked for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from enqueued import errors
from enqueued.client.failure import source_error
from enqueued.client.handoff import Gone
from enqueued.client.iteration import ENDED
from enqueued.client.link import Link
from enqueued.client.membership import Membership
from enqueued.client.patience import await_items
from enqueued.client.run import Run
from enqueued.codec.decode import decode
from enqueued.wire import messages
from enqueued.wire.messages import END, ERROR, OVER

log = logging.getLogger("enqueued.client")

_END_S = 5.0
_SOON_S = 0.001
"""What comes within this time comes at once."""
_NEAR_THE_END = 8
"""As many times what one member holds may be in the hands of all."""
_TWO = "two threads use this client at once; give each a Client of its own"
_SKIPPED: Final = object()
"""Stands in the place of a batch that is left out."""
_NONE: Final = object()
"""What `_take_quickly` gives in the place of a batch, which may be None."""


class Subscription(Membership):
    """Taking, over one session after another. Not for two threads at once."""

    def __init__(self, *membership: Any) -> None:
        self._in_use = threading.RLock()  # a signal's handler may come in the midst of what its thread does
        super().__init__(*membership)

    # -- taking -------------------------------------------------------------------------------------------------

    def take(self) -> Any:
        """The next batch's data; `ENDED` at the end of an epoch. Raises `StopIteration` when the stream is over."""
        if not self._in_use.acquire(False):
            raise errors.ClientError(_TWO)
        try:
            if self._quick and (run := self._run) is not None and run.taken < run.count:
                batch = self._take_quickly(run)
                if batch is not _NONE:
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
                except (StopIteration, errors.EnqueuedError):
                    raise
                except BaseException:
                    link.close()  # a signal's handler raised: what got lost on the way is asked for anew
                    raise
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
            link.flush(self._together if items else max(1, self._together // 2))
            return self._admit(run.item(run.taken))
        link.flush(self._together)
        while True:
            if not items:
                self._unstable.settle(link.stable)
                # what comes at once is told of together with what is done already, unless a worker may wait for memory
                if not link.fill(0) and (self.over or link.unreleased or not self._patient or not link.fill(_SOON_S)):
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
            else:
                return self._admit(item)

    @property
    def _patient(self) -> bool:
        """Whether nobody waits for what is done here: at the end of an epoch that they share, members do."""
        course = self.course
        return not self._split or (course.length or 0) - course.index > _NEAR_THE_END * self._credit

    def _admit(self, item: list[Any]) -> list[Any]:
        course = self.course
        if (item[4] == course.index and item[3] == course.epoch) or course.admits(item):
            return item
        # a signal's handler that raises can make a batch get lost between socket and trainer
        raise Gone(f"{course.epoch}:{course.index} is missing before {item[3]}:{item[4]}")

    def _take_quickly(self, run: Run) -> Any:
        """The next batch of a run; `_NONE` when there is more to be seen to."""
        link, course, taken = self.link, self.course, run.taken
        index, lease = run.index + taken, self._lease
        if link is None or index != course.index or course.ahead or not run.whole:
            return _NONE
        if link.undone + 1 >= self._together or link.unreleased >= self._together:
            return _NONE
        if lease is not None:
            link.done(lease)
        batch = run.take()  # first: what comes between here and the end has it asked for again
        self._lease = run.lease + taken
        course.index = index + 1
        self.step += 1
        return batch

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
