"""`Client`: what a trainer uses."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np

from enqueued import __version__, errors
from enqueued.batch import Batch
from enqueued.client.failure import source_error
from enqueued.client.handoff import Gone
from enqueued.client.iteration import ENDED, Epoch, Steps
from enqueued.client.link import Link
from enqueued.client.patience import await_items
from enqueued.client.search import find, where_to_look
from enqueued.codec.decode import decode
from enqueued.codec.spec import describe, spec
from enqueued.wire import messages
from enqueued.wire.hello import Claim, Hello
from enqueued.wire.messages import END, ERROR, OVER, PADDED, REDELIVERED

log = logging.getLogger("enqueued.client")

_MOST_LOSSES = 20


class Client:
    """An iterable of batches that a daemon makes.

    ``for x, y in Client():`` is one epoch; `epochs` gives several, `batches` `Batch` objects without end. The arrays
    are NumPy, writable and private to this process. Not for several threads at once, and not for a forked child: there,
    make a client of its own.

    Args:
        where: an address (``"tcp://host:5555/train"``, ``"ipc:///run/enqueued/default.sock"``), or the name of a stream
            of the daemon on this host; None for that daemon's only stream.
        group: clients that name the same group split the stream between them; None sees every batch.
        start: where a group without members begins: ``"first"`` is position 0:0, ``"live"`` where others are.
        fixed_epoch: replay this one epoch in every iteration, as for validation.
        prefetch: batches that are under way to this trainer while it works on one.
        connect_timeout: seconds to wait for a daemon, at the start and when it goes away.
        batch_timeout: seconds to wait for a batch before `BatchTimeout`; None waits as long as the daemon is there.

    Raises `ConnectTimeout`, and `Refused` when the daemon says no.
    """

    def __init__(
        self,
        where: str | None = None,
        *,
        group: str | None = None,
        start: str = "first",
        fixed_epoch: int | None = None,
        prefetch: int = 2,
        connect_timeout: float = 60.0,
        batch_timeout: float | None = None,
    ) -> None:
        if start not in ("first", "live"):
            raise errors.ConfigError(f'start is "first" or "live", not {start!r}')
        if prefetch < 1:
            raise errors.ConfigError(f"prefetch is 1 or more, not {prefetch!r}")
        if fixed_epoch is not None and (group is not None or not 0 <= fixed_epoch < messages.MOST_EPOCHS):
            raise errors.ConfigError("fixed_epoch is an epoch's number, and only for a client without a group")
        self._places, stream = where_to_look(where)
        self._hello = Hello(stream=stream, claim=Claim(group=group), version=__version__)
        self._fixed_epoch = fixed_epoch
        self._prefetch = prefetch
        self._connect_timeout = connect_timeout
        self._batch_timeout = batch_timeout
        self._pid = os.getpid()
        self._link: Link | None = None
        self._lease: int | None = None
        self._epoch = self._index = self._losses = 0
        self._over = False
        self._in_use = threading.Lock()
        self.step = 0
        """How many batches this client has yielded."""
        first = start if fixed_epoch is None else (fixed_epoch, 0)
        self._connect(first)
        _clients.add(self)

    # -- the connection -----------------------------------------------------------------------------------------

    def _connect(self, start: str | tuple[int, int], *, repeated: bool = False) -> None:
        hello = replace(self._hello, claim=replace(self._hello.claim, start=start, returning=repeated))
        self._link = link = find(self._places, hello, self._connect_timeout)
        self._finalizer = weakref.finalize(self, link.close)
        welcome = link.welcome
        self._generation = self._flags = 0
        self._lease = None
        self._over = False
        at = welcome["epoch"], welcome["index"]
        if self._private and isinstance(start, tuple) and at != start:
            raise errors.ProtocolError(
                f"the daemon begins at {at[0]}:{at[1]} where {start[0]}:{start[1]} was asked for"
            )
        self._epoch, self._index = at
        self._length: int | None = welcome["length"]
        self._rewinds: bool = self._private and welcome["indexed"]
        self._credit = max(1, min(self._prefetch + 1, welcome["credit_limit"]))
        self._together = max(1, self._credit // 2)
        if self._private:
            link.send(messages.CREDIT, self._credit)
        self._credited = self._private

    @property
    def _private(self) -> bool:
        return self._hello.claim.group is None

    def _open(self) -> Link:
        if self._pid != os.getpid():
            raise errors.ForkedClient("this client belongs to the process that made it; make a Client in this one")
        if self._link is None:
            raise errors.ClosedClient("this client is closed")
        return self._link

    def _reconnect(self, why: Gone) -> None:
        """Find the daemon again, or its successor, and go on where this trainer was."""
        assert self._link is not None
        self._losses += 1
        if self._losses > _MOST_LOSSES:
            self._losses = 0
            raise errors.ConnectTimeout(
                f"the daemon was lost {_MOST_LOSSES} times without a batch in between, at last: {why}"
            )
        log.warning("%s: %s; looking for it for %.0f s", self._link.place.endpoint, why, self._connect_timeout)
        before = self._link.welcome
        self._finalizer.detach()
        self._link.close()
        at = (self._epoch, self._index if self._private else 0)
        self._connect(at, repeated=not self._private)
        log.warning("%s: connected again, at %d:%d", self._link.place.endpoint, self._epoch, self._index)
        for key, was in before.items():
            if key in ("source", "kind", "check", "length") and self._link.welcome[key] != was:
                log.warning("the stream has changed: %s was %s and is %s", key, was, self._link.welcome[key])

    # -- taking -------------------------------------------------------------------------------------------------

    def _take(self) -> Any:
        """The next batch's data; `ENDED` at the end of an epoch. Raises `StopIteration` when the stream is over."""
        if not self._in_use.acquire(blocking=False):
            raise errors.ClientError("two threads use this client at once; give each a Client of its own")
        try:
            while True:
                link = self._link or self._open()
                try:
                    item = self._next_item(link)
                    return ENDED if item[0] == END else self._unwrap(link, item)
                except Gone as gone:
                    why = gone
                self._reconnect(why)  # not in the except clause, whose error would be told with every later one
        finally:
            self._in_use.release()

    def _take_batch(self) -> Any:
        """The same as a `Batch`."""
        data = self._take()
        if data is ENDED:
            return ENDED
        return Batch(
            data,
            self._epoch,
            self._index - 1,
            redelivered=bool(self._flags & REDELIVERED),
            padded=bool(self._flags & PADDED),
            acknowledge=partial(self._acknowledge_one, self._link, self._lease),
        )

    def _next_item(self, link: Link) -> list[Any]:
        """The next batch or error, or the end of an epoch; what was yielded before it is acknowledged."""
        self._acknowledge()
        if not self._credited:
            self._credited = True
            link.send(messages.CREDIT, self._credit)
        items = link.items
        link.flush(self._together if items else 1)
        while True:
            if not items and not link.fill(0):
                if self._over:
                    raise StopIteration
                link.flush()  # what was dropped as stale holds credit until it is told
                await_items(link, (self._epoch, self._index), self._batch_timeout)
            item: list[Any] = items.popleft()
            kind = item[0]
            if item[1 if kind in (END, OVER) else 2] != self._generation:
                link.drop(item)
            elif kind == OVER:
                self._over = True
                raise StopIteration
            elif kind == END:
                self._length = item[3]
                self._epoch, self._index = item[2] + 1, 0
                if items and items[0][0] == OVER:
                    self._over = True
                return item
            elif self._rewinds and (item[4] != self._index or item[3] != self._epoch):
                # a signal's handler that raises can make a batch get lost between socket and trainer
                raise Gone(f"{self._epoch}:{self._index} is missing before {item[3]}:{item[4]}")
            else:
                return item

    def _unwrap(self, link: Link, item: list[Any]) -> Any:
        kind, lease, _, epoch, index, self._flags = item[:6]
        root = None if kind == ERROR else link.root(item, copy=link.views.alive >= self._credit - 1)
        self._lease = lease
        self._epoch, self._index = epoch, index + 1
        self._losses = 0
        self.step += 1
        if root is None:
            self._acknowledge()
            raise source_error(item[6], link.welcome["check"], epoch, index)
        return decode(root)

    def _acknowledge(self) -> None:
        lease = self._lease
        if lease is not None and self._link is not None:
            self._lease = None
            self._link.done(lease)

    def _acknowledge_one(self, link: Link | None, lease: int | None) -> None:
        if link is not None and link is self._link and lease == self._lease:
            self._acknowledge()
            try:
                link.flush()
            except Gone as gone:
                self._reconnect(gone)

    # -- iterating ----------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        """One epoch of batches' data.

        A new iteration acknowledges what was yielded and begins the next epoch, also after `break`. In a group it goes
        on with what is left of the group's epoch, and so it does where the source is streamed, which only goes forward.
        """
        return Epoch(self._take, resumed=self._begin_epoch())

    def _begin_epoch(self) -> bool:
        """Go to the beginning of an epoch; whether it goes on in one that may be at its end already."""
        link = self._open()
        self._acknowledge()
        if not self._private:
            return False
        if self._fixed_epoch is not None:
            if (self._epoch, self._index) != (self._fixed_epoch, 0):
                self._seek(link, self._fixed_epoch)
        elif not self._rewinds:
            return self._index > 0
        elif self._index and self._index != self._length:
            self._seek(link, self._epoch + 1)
        elif self._index:
            self._take_end()
        return False

    def _seek(self, link: Link, epoch: int) -> None:
        self._generation += 1
        self._epoch, self._index = epoch, 0
        self._over = False
        try:
            link.flush()
            link.send(messages.SEEK, self._generation, epoch, 0)
        except Gone as gone:
            self._reconnect(gone)

    def _take_end(self) -> None:
        """An epoch was taken to its last batch, and its end never asked for: Keras takes exactly `len` batches."""
        before = self._epoch
        try:
            link = self._open()
            item = self._next_item(link)
        except StopIteration:
            return
        except Gone as gone:
            self._epoch, self._index = before + 1, 0
            self._reconnect(gone)
            return
        if item[0] != END:  # the epoch is longer than the last one was
            link.drop(item)
            self._seek(link, before + 1)

    def __len__(self) -> int:
        """Batches in a whole epoch for this client. Raises TypeError where there is no such number."""
        if not self._private:
            raise TypeError("a client of a group has no length: the members share the epoch's batches as they come")
        if not self._rewinds or self._length is None:
            raise TypeError("this stream has no length: its source is streamed")
        return self._length

    def epochs(self, n: int) -> Iterator[Iterator[Any]]:
        """The next `n` epochs, each an iterator of batches' data; fewer when the stream ends before."""
        for _ in range(n):
            epoch = iter(self)
            if self._over:
                return
            yield epoch

    def batches(self) -> Iterator[Batch]:
        """`Batch` objects, epoch after epoch, without end (unless the stream has one)."""
        return Steps(self._take_batch)

    def steps(self, n: int) -> Iterator[Any]:
        """The data of the next `n` batches, across the ends of epochs."""
        return Steps(self._take, n)

    # -- about the stream ---------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The epoch of the batch that was yielded last, or of the next one when an epoch has just ended."""
        return self._epoch

    @property
    def spec(self) -> Any:
        """What a batch looks like, without taking one: its structure, with `LeafSpec(shape, dtype)` for each leaf.

        It tells of the first batch that the daemon made. Raises `BatchTimeout` when none was made in time.
        """
        deadline = time.monotonic() + (self._batch_timeout or self._connect_timeout)
        while not isinstance(header := self._ask("spec"), bytes):
            if time.monotonic() > deadline:
                raise errors.BatchTimeout(f"the daemon has made no batch yet: {self._ask('waiting')}")
            time.sleep(0.05)
        return spec(describe(np.frombuffer(header, np.uint8)))

    def _ask(self, what: str) -> Any:
        while True:
            try:
                return self._open().ask(what, within_s=5.0)
            except Gone as gone:
                self._reconnect(gone)

    def stats(self) -> dict[str, Any]:
        """The daemon's own snapshot, as `enqueued stats --json` prints it."""
        answer = self._ask("stats")
        if not isinstance(answer, dict):
            raise errors.ClientError("the daemon does not answer")
        return answer

    # -- the end ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave the stream. Arrays that you hold stay valid. Again is harmless."""
        link, self._link = self._link, None
        if link is not None and self._pid == os.getpid():
            if self._lease is not None:
                link.done(self._lease)
                self._lease = None
            self._finalizer.detach()
            link.close(bye=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Client belongs to the process that made it, and cannot be pickled; make one in each process")

    def __repr__(self) -> str:
        if self._link is None:
            return "<Client, closed>"
        return (
            f"<Client of {self._link.welcome['stream']!r} at {self._link.place.endpoint}, {self._epoch}:{self._index}>"
        )


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _before_fork() -> None:
    for client in list(_clients):
        if client._link is not None:
            client._link.views.keep()


def _after_fork() -> None:
    for client in list(_clients):
        link, client._link = client._link, None
        if link is not None:
            link.close()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
