"""The thread that carries a run in processes: it orders batches ahead and hands them to the consumer as they lie."""

from __future__ import annotations

import logging
import os
import resource
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

from enqueued.arena.segment import Slot
from enqueued.arena.views import Views
from enqueued.enqueuer import epochs
from enqueued.enqueuer.bell import Bell
from enqueued.enqueuer.epochs import EpochEnds
from enqueued.enqueuer.forking import ENGINE
from enqueued.enqueuer.line import CONSUMER, LineFeed
from enqueued.errors import EnqueuedError
from enqueued.pool.channel import Message
from enqueued.pool.memory import Memory
from enqueued.pool.options import PoolOptions
from enqueued.pool.reactor import Reactor
from enqueued.source.spec import SourceSpec
from enqueued.stream.decisions import Deliver, Over

log = logging.getLogger(__name__)

_TURN_S = 0.1
_NEEDY_TURN_S = 0.02
_STEP_S = 0.02
"""So often the feed sees what has to be done, where there is news of batches that were made and of nothing else."""
_GRACE_S = 0.25
"""How long the workers may take to finish what they make when the run ends; then they are killed."""
_NEVER = -1
_SHORT_S = 3e-3
"""Makes that are shorter are ordered by the half of what may be made ahead, so that messages have company."""


class Ready(NamedTuple):
    """A batch that lies in a slot."""

    lease: int
    slot: Slot
    last: bool
    """Whether it is the last one of its epoch, and nothing happens between epochs."""


class Failed(NamedTuple):
    """What takes the place of a batch that could not be made."""

    error: Message


class Errand(NamedTuple):
    """Something that only the consumer's own thread can do."""

    do: Callable[[], None]


class Engine:
    """One run. Its thread is the only one that touches the stream and the pool.

    The consumer reads `items`, makes copies or views of what lies in slots, and calls `took` after each batch. It puts
    the leases of what it copied into `released`; a view is tagged by its item.
    """

    def __init__(self, spec: SourceSpec, options: PoolOptions, sequence: Any, first: int | None) -> None:
        self.items: deque[Any] = deque()
        """`Ready`, `Failed`, `Errand`, or None for the end. The first one stays until the consumer is done with it."""
        self.news: SimpleQueue[None] = SimpleQueue()
        """Something for each time that a consumer that waits has to look at `items`, and now and then once more."""
        self.released: deque[int] = deque()
        self.views = Views()
        self.freed_bytes = 0
        """How much of what the consumer was given as views it holds no longer."""
        self.ends = EpochEnds()
        self.waiting = False
        """Whether a consumer waits, or is about to."""
        self.pack: Callable[[], tuple[int, ...] | None] = tuple
        """Packs the sequence as it is now, or has the consumer fork it: then it gives None."""
        self.hooked = False
        """Whether the sequence does something between epochs; else it is packed anew when its length has changed."""
        self.shuffles = False
        self.on_end: Callable[[], None] = lambda: None
        """Called when every process has ended."""
        self._sequence = sequence
        self._first = first
        self._bell = Bell()
        self._reactor = Reactor()
        self._reactor.watch(self._bell.fd, self._bell.hear)
        self.memory = Memory(None)
        self.memory.most_segments = max(32, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self.feed = LineFeed(
            spec, options, reactor=self._reactor, memory=self.memory, on_open=self._open, on_broken=self._break
        )
        self._counts: dict[int, int] = {}
        self._length = 0
        """How many batches the epoch has that was opened last."""
        self._pending: int | None = None
        """The epoch that begins when the consumer has taken all before it."""
        self._files: tuple[int, ...] | None = None
        """The sequence as it is since the last `on_epoch_end`."""
        self._begins = (0, 0)
        """The epoch, and its length, for which the sequence is being forked."""
        self._planted: tuple[BaseException | None] | None = None
        self._due = 0.0
        self._limited = False
        """Whether more would have been ordered if the consumer had taken more."""
        self._wake_at = _NEVER
        """Wake the engine when so few batches are left that the consumer has not taken."""
        self._stopping = False
        """Whether nothing more is made."""
        self._dismissed = False
        """Whether nothing more is taken."""
        self._thread = threading.Thread(target=self._run, name=ENGINE, daemon=True)

    # -- what other threads call --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def took(self) -> None:
        """The consumer has taken a batch."""
        if len(self.items) <= self._wake_at:
            self._wake_at = _NEVER
            self._bell.ring()

    def hand_over(self, item: Any) -> None:
        """The consumer gets this, behind what lies ready."""
        self.items.append(item)
        self.news.put(None)

    def wake(self) -> None:
        """See at once what has changed."""
        self._bell.ring()

    def stop(self) -> None:
        """End soon."""
        self._stopping = self._dismissed = True
        self._bell.ring()

    def join(self, timeout: float | None) -> bool:
        """Wait until it has ended, if this is another thread than its own; whether it has."""
        if self._thread is not threading.current_thread() and self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def dispose(self) -> None:
        """Close what others needed to reach it, after its end."""
        self._bell.close()

    def abandon(self) -> None:
        """In a forked child: the run is the parent's."""
        self.views.close()
        self.memory.table.close()

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self.feed.start()
            while not self._stopping:
                self._turn()
        except BaseException as error:
            self.hand_over(Failed({"exception": error}))
        finally:
            self._stopping = True
            self.hand_over(None)
            self.ends.close()
            try:
                self._close()
            except BaseException:
                log.exception("the end of a run failed")

    def _turn(self) -> None:
        busy = self._reactor.turn(self._patience())
        feed = self.feed
        self._deliver()
        now = time.monotonic()
        if feed.ready:
            line = feed.line
            line.untaken = len(self.items)
            line.waiting = self.waiting and not line.untaken
            line.least = max(1, line.limit // 2) if busy and feed.pool.make_s < _SHORT_S else 1
            if self._pending is not None and self._all_taken():
                self._go_on(self._pending)
            elif self._planted is not None:
                self._replant(self._planted)
            elif not line.fill() and feed.only_made(line) and now < self._due:
                self._limited = True
                return
            self._due = now + _STEP_S
            self._release()
        feed.step(now)
        if feed.ready:
            self._limited = feed.line.room < feed.line.least
        self._deliver()

    def _all_taken(self) -> bool:
        return not self.items and not self.feed.line.window.queued

    def _is_needy(self) -> bool:
        return any(worker.needs for worker in self.feed.pool.workers())

    def _patience(self) -> float:
        """How long to sleep at most; from now on the consumer wakes the engine when it has to."""
        if self._stopping or not self.feed.ready:
            return 0.0 if self._stopping else _TURN_S
        line = self.feed.line
        enough = line.limit - line.window.queued - line.least
        self._wake_at = enough if self._pending is None else max(0, enough)
        left = len(self.items)  # and only now look again, lest the consumer took one meanwhile
        if self._limited and left <= enough:
            return 0.0
        if self._pending is not None and self._all_taken():
            return 0.0
        return _NEEDY_TURN_S if self._is_needy() else _TURN_S

    def _deliver(self) -> None:
        """Hand over what is ready."""
        first = count = 0
        for decision in self.feed.decisions():
            if type(decision) is Deliver:
                first = first if count else decision.lease
                count += 1
                if decision.error is not None:
                    self.items.append(Failed(decision.error))
                else:
                    epoch, index = decision.position
                    slot: Slot = decision.slot
                    last = not self.hooked and index + 1 == self.feed.stream.lengths.get(epoch)
                    if slot.segment not in self.views:
                        self._map(slot.segment)
                    self.items.append(Ready(decision.lease, slot, last))
            elif type(decision) is Over:
                self.hand_over(None)
        if count:
            if self.waiting:
                self.news.put(None)
            self.feed.stream.done(CONSUMER, [(first, count)])

    def _at_hand(self) -> Any:
        try:
            return self.items[0]
        except IndexError:  # the consumer may take it at any moment
            return None

    def _map(self, segment: int) -> None:
        found = self.memory.table.descriptor(segment)
        assert found is not None
        self.views.add(segment, os.dup(found[0]), found[1])

    def _release(self) -> None:
        """Take back what the consumer holds no longer."""
        released = self.released
        if self.views.freed:
            for item in self.views.collect():
                self.freed_bytes += item.slot.nbytes
                if self._at_hand() is not item:  # else the consumer was interrupted, and will take a copy
                    released.append(item.lease)
        if released:
            self.feed.stream.release(CONSUMER, [(released.popleft(), 1) for _ in range(len(released))])
        table = self.memory.table
        if table.forgotten:
            gone, table.forgotten = table.forgotten, []
            for segment in gone:
                self.views.forget(segment)

    def _close(self) -> None:
        """End every process, then give the memory back that they wrote."""
        feed = self.feed
        feed.close()
        deadline = time.monotonic() + _GRACE_S
        while not feed.closed and time.monotonic() < deadline:
            self._reactor.turn(0.01)
            feed.step(time.monotonic())
        feed.kill()
        while not self._dismissed:  # what was made before something broke may still be taken
            self._reactor.turn(_TURN_S)
        self.memory.table.close()
        self.views.close()
        self._reactor.close()
        self.on_end()

    def _break(self, error: EnqueuedError) -> None:
        self.hand_over(Failed({"exception": error}))
        self._stopping = True

    # -- epochs -------------------------------------------------------------------------------------------------

    def _open(self, epoch: int) -> None:
        """The look-ahead has come to an epoch."""
        if epoch and self.hooked:
            self._pending = epoch
            return
        try:
            length = self._first if not epoch and self._first is not None else epochs.length(self._sequence)
        except BaseException as error:
            self._cannot_open(epoch, error)
        else:
            if epoch and length != self._length:
                self._pending = epoch  # the workers have the sequence as it was, and still make batches of that
            else:
                self._begin(epoch, length)

    def _go_on(self, epoch: int) -> None:
        """All batches before this epoch have been taken: the sequence may change now."""
        self._pending = None
        try:
            epochs.turn(self._sequence)
            length = epochs.length(self._sequence)
            self._files = self.pack()
        except BaseException as error:
            self._cannot_open(epoch, error)
        else:
            if self._files is not None:
                self._begin(epoch, length)
            else:
                self._begins = (epoch, length)
        if self.hooked:
            self.ends.add()

    def planted(self, error: BaseException | None) -> None:
        """The consumer has forked the sequence as it is now from this program, or has failed to."""
        self._planted = (error,)
        self._bell.ring()

    def _replant(self, planted: tuple[BaseException | None]) -> None:
        epoch, length = self._begins
        self._planted = None
        if planted[0] is not None:
            self._cannot_open(epoch, planted[0])
        else:
            self.feed.pool.replant()
            self._begin(epoch, length)

    def _begin(self, epoch: int, length: int) -> None:
        self._length = length
        if self.shuffles:
            self._counts = {old: count for old, count in self._counts.items() if old >= epoch - 2} | {epoch: length}
        message: Message = {"counts": self._counts} if self.shuffles else {}
        if self._files is not None:
            self.feed.pool.brief({**message, "renew": 1}, *self._files)
        elif message:
            self.feed.pool.brief(message)
        self.feed.stream.epoch_length(epoch, length)

    def _cannot_open(self, epoch: int, error: BaseException) -> None:
        self.feed.stream.epoch_failed(epoch, {"message": str(error), "exception": error})
