"""A worker: makes the batches of the positions that it is given, straight into slots.

What is made together is told together, in stretches as they were ordered, but nothing waits for company longer than
three times `_TOGETHER_S`: what takes longer than that to make is told at once, and what was held back is told beside a
make that takes long.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from enqueued.arena.segment import SMALL, Slot
from enqueued.arena.writer import Arena
from enqueued.codec.encode import Encoded, encode
from enqueued.errors import EncodeError, LoadError, SourceError
from enqueued.pool.canary import CANARY
from enqueued.pool.channel import Channel, Message, shorten
from enqueued.pool.draft import Draft
from enqueued.pool.page import Page
from enqueued.pool.parcel import Parcel
from enqueued.source.building import build_in
from enqueued.source.failure import source_error
from enqueued.source.indexed import IndexedSource
from enqueued.source.streamed import EndOfEpoch, StreamedSource
from enqueued.wire.messages import MOST_TOGETHER

_TOGETHER_S = 1e-3
"""Makes that are shorter are told together for so long, and twice as long where a stretch is not whole yet: a message
carries some two hundred of 2 KB then."""
_QUIET_ROUNDS = 20
"""After so many looks that found nothing the teller sleeps until it is woken, which costs more than a look."""


class Stopped(Exception):
    """The daemon has told this worker to stop, or is gone."""


class Worker:
    """One worker with one lane: it reads its orders and makes their batches in the same thread."""

    keeps_canaries = True
    """Whether it tells the checksums of the epochs' first batches."""
    _encode: Callable[[Any], Encoded | Parcel] = staticmethod(encode)

    def __init__(self, source: IndexedSource | StreamedSource, number: int, name: str, channel: Channel, page: Page):
        self._source = source
        self._streamed = isinstance(source, StreamedSource)
        self._name = name
        self._channel = channel
        self._page = page
        self._arena = Arena(number, self._publish, lambda segment: channel.send({"closed": [segment]}))
        self._drafts: list[Draft] = []
        """One for each lane."""
        self._orders: deque[tuple[int, int, int]] = deque()
        """Positions, and how many of those that were ordered together come after each."""
        self._left = 0
        """How many come after the one that was made last."""
        self._made: list[list[int]] = []
        """Runs of what was made and is to be told: `[epoch, index, segment, offset, nbytes, count, make_us]`."""
        self._canaries: list[tuple[int, str, str]] = []
        """The epoch, its canary, or an error in its place."""
        self._step = 0
        """How far the batches lie apart that are told last."""
        self._told = self._at = 0.0
        """When it last told something, and last made something."""
        self._lock: Any = threading.RLock()
        """Held while tickets are taken in or handed on."""
        self._holding = threading.Event()
        self._teller: threading.Thread | None = None
        """Tells what is held back; there is none as long as no make is short."""
        self._grants = 0
        """How often memory was granted."""
        self._ended = -1
        """The last epoch of a streamed source that has come to its end."""
        self._barren = -1
        """An epoch of a streamed source that raised before it gave anything; that is told once, and then it is over."""

    def run(self) -> None:
        """Make batches until the daemon says stop or is gone."""
        self._enter_lane()
        try:
            while True:
                if not self._orders:
                    self._page.rest(0)
                    self._tell()
                    self._obey(self._channel.receive(wait=True))
                    self._told = time.monotonic()  # what is made now may wait for company
                    continue
                epoch, index, left = self._orders.popleft()
                self._make(0, epoch, index)
                if index != CANARY:
                    self._left = left
                held_s = self._at - self._told
                if not self._orders or (held_s > _TOGETHER_S and (not left or held_s > 2 * _TOGETHER_S)):
                    self._tell()
                    self._read_all()
                elif not self._holding.is_set():
                    self._hold()
        except Stopped:
            return

    # -- what the daemon says -----------------------------------------------------------------------------------

    def _obey(self, message: Message | None) -> None:
        if message is None or "quit" in message:
            raise Stopped
        for segment, offset, count in message.get("free", ()):
            self._arena.give(segment, offset, count)
        if "grant" in message:
            self._grants += 1
            self._arena.allowance += message["grant"]
        for segment in message.get("close", ()):
            self._arena.close(segment)
        for epoch, first, count in message.get("make", ()):
            self._order(epoch, range(first, first + count * self._stride, self._stride))
        for epoch in message.get("length", ()):
            self._channel.send({"length": [epoch, *self._length(epoch)]})
        for epoch in message.get("canary", ()):
            self._order_canary(epoch)

    def _order(self, epoch: int, indices: range) -> None:
        count = len(indices)
        self._orders.extend([(epoch, index, count - n) for n, index in enumerate(indices, 1)])

    def _order_canary(self, epoch: int) -> None:
        self._orders.appendleft((epoch, CANARY, 0))

    @property
    def _stride(self) -> int:
        return self._source.spec.replicas if isinstance(self._source, StreamedSource) else 1

    def _read_all(self) -> None:
        while True:
            try:
                message = self._channel.receive(wait=False)
            except BlockingIOError:
                return
            self._obey(message)

    def _length(self, epoch: int) -> tuple[int, Any]:
        assert isinstance(self._source, IndexedSource)
        try:
            return self._source.length(), None
        except BaseException as error:
            return 0, self._failure(error, epoch, -1)

    def _enter_lane(self) -> int:
        """This thread makes batches from now on: the number of its lane."""
        draft = Draft(lambda nbytes: self._take(nbytes), self._give)
        build_in(draft.empty)
        self._drafts.append(draft)
        return len(self._drafts) - 1

    # -- making -------------------------------------------------------------------------------------------------

    def _make(self, lane: int, epoch: int, index: int) -> None:
        if index == CANARY:
            self._make_canary(lane, epoch)
            return
        began = self._page.begin(lane, epoch, index)
        try:
            made = self._make_slot(self._drafts[lane], epoch, index)
            self._at = end = time.monotonic()
        except Stopped:
            raise
        except EndOfEpoch:
            self._end(epoch)
        except BaseException as error:
            failure = self._failure(error, epoch, index)
            with self._lock:
                self._tell()
                self._send_failure(epoch, index, failure)
        else:
            if made is not None:
                slot, waited_s = made
                with self._lock:
                    self._add(epoch, index, slot, int((end - began - waited_s) * 1e6))

    def _add(self, epoch: int, index: int, slot: Slot, make_us: int) -> None:
        """Those of batches that were ordered together that follow each other in their segment are told as a run."""
        segment, offset, nbytes, _ = slot
        if self._made and self._left:
            run = self._made[-1]
            count = run[5]
            if (
                run[1] + count == index
                and run[3] + count * self._step == offset
                and run[4] == nbytes < SMALL
                and run[2] == segment
                and run[0] == epoch
                and count < MOST_TOGETHER
            ):
                run[5], run[6] = count + 1, run[6] + make_us
                return
        self._step = slot.step
        self._made.append([epoch, index, segment, offset, nbytes, 1, make_us])

    def _make_canary(self, lane: int, epoch: int) -> None:
        """Make the batch at an epoch's index 0 for its checksum alone, without a slot."""
        assert isinstance(self._source, IndexedSource)
        self._page.begin(lane, epoch, 0)
        try:
            told = (epoch, encode(self._source.make(epoch, 0)).checksum(), "")
        except BaseException as error:
            told = (epoch, "", self._failure(error, epoch, 0)["message"])
        with self._lock:
            self._channel.send({"canary": [told]})

    def _make_slot(self, draft: Draft, epoch: int, index: int) -> tuple[Slot, float] | None:
        """The slot of the batch at a position, and for how long it waited for memory; None after an epoch's end."""
        source = self._source
        if epoch <= self._ended:
            return None
        draft.begin()
        try:
            batch = self._next(source, epoch, index) if self._streamed else source.make(epoch, index)
            encoded = self._encode(batch)
            built = plain = None
            if (draft.asked or index == 0) and isinstance(encoded, Encoded):
                plain = encoded
                if index == 0 and self.keeps_canaries and not self._streamed:
                    told = (epoch, plain.checksum(), "")
                    with self._lock:
                        self._canaries.append(told)
                if draft.asked:
                    built = draft.write(plain)
            if built is None:
                slot, memory, waited_s = self._find(encoded.nbytes, epoch, index)
                encoded.write_into(memory)
                return slot, waited_s
            del batch, encoded, plain
            if draft.release():
                return built[0], 0.0
            slot, memory, waited_s = self._find(built[0].nbytes, epoch, index)
            memory[:] = built[1]  # the source has kept an array of it, and may write to that
            return slot, waited_s
        finally:
            draft.end()

    def _find(self, nbytes: int, epoch: int, index: int) -> tuple[Slot, memoryview, float]:
        """A slot, its memory, and how long it took to be given some."""
        found = self._take(nbytes)
        if found is not None:
            return *found, 0.0
        began = time.monotonic()
        return *self._wait_for_memory(nbytes, epoch, index), time.monotonic() - began

    def _next(self, source: IndexedSource | StreamedSource, epoch: int, index: int) -> Any:
        assert isinstance(source, StreamedSource)
        try:
            if index < source.spec.replicas:
                source.open(epoch)
            return source.make(epoch, index)
        except EndOfEpoch:
            raise
        except SourceError:  # there is no iterator, or it is spent
            if self._barren == epoch:
                raise EndOfEpoch from None
            self._barren = epoch
            raise
        except BaseException:
            if index < source.spec.replicas:
                self._barren = epoch
            raise

    def _take(self, nbytes: int) -> tuple[Slot, memoryview] | None:
        return self._arena.take(nbytes)

    def _give(self, slot: Slot) -> None:
        self._arena.give(slot.segment, slot.offset)

    def _wait_for_memory(self, nbytes: int, epoch: int, index: int) -> tuple[Slot, memoryview]:
        self._tell()
        self._channel.send({"need": [epoch, index, self._arena.missing(nbytes)]})
        while (found := self._arena.take(nbytes)) is None:
            self._obey(self._channel.receive(wait=True))
        return found

    def _end(self, epoch: int) -> None:
        self._ended = epoch
        self._tell()
        self._channel.send({"ended": epoch})

    def _failure(self, error: BaseException, epoch: int, index: int) -> Message:
        told = source_error(error, target=self._source.spec.target, epoch=epoch, index=index, worker=self._name)
        text = error.traceback if isinstance(error, LoadError) else told.traceback
        kind = "type" if isinstance(error, EncodeError) else ""
        return {"message": shorten(str(told)), "traceback": shorten(text), "worker": self._name, "kind": kind}

    def _send_failure(self, epoch: int, index: int, failure: Message) -> None:
        self._channel.send({"failed": [epoch, index, failure]})

    # -- telling ------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Hand on the tickets of what was made."""
        with self._lock:
            self._told = time.monotonic()
            if self._made:
                message: Message = {"made": self._made}
                if self._canaries:
                    message["canary"], self._canaries = self._canaries, []
                self._made = []
                self._channel.send(message)

    def _hold(self) -> None:
        """Keep the tickets for company, and have them told in a moment even if the next make takes for ever."""
        if self._teller is None:
            self._teller = threading.Thread(target=self._tell_held, name="enqueued teller", daemon=True)
            self._teller.start()
        self._holding.set()

    def _tell_held(self) -> None:
        with contextlib.suppress(OSError):  # the daemon has let go of this worker
            while self._holding.wait():
                quiet = 0
                while quiet < _QUIET_ROUNDS:
                    time.sleep(2 * _TOGETHER_S)
                    quiet = 0 if self._made else quiet + 1
                    self._tell()
                self._holding.clear()
                if self._made:  # it was held back just before
                    self._holding.set()

    def _publish(self, segment: int, fd: int, size: int) -> None:
        self._channel.send({"segment": [segment, size]}, (fd,))
