"""One session with one daemon: the only file of the client that knows ZeroMQ."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import zmq

from enqueued.arena.segment import SMALL
from enqueued.arena.views import Views
from enqueued.client.buffers import Buffers
from enqueued.client.handoff import Gone, HandOff, reach
from enqueued.client.run import Run
from enqueued.errors import ProtocolError, Refused
from enqueued.wire import messages
from enqueued.wire.compression import Compressed, codecs
from enqueued.wire.hello import Hello
from enqueued.wire.messages import (
    BATCHES,
    FRAME,
    FROM_DAEMON,
    TICKET,
    check_item,
    check_welcome,
    join_runs,
    pack,
    unpack,
)
from enqueued.wire.places import LOOPBACK_BUFFER, Place, is_loopback

log = logging.getLogger("enqueued.client")

_ANSWER_S = 5.0
_GOODBYE_S = 1.0
_TELL_S = 2.0
_LINGER_MS = 500
_LAST_WORDS_MS = 100


class Link:
    """A session: it takes items in and hands acknowledgements and freed slots out.

    Raises `Gone` when there is no daemon at the place, `Refused` when it says no. `on_loading` is called while the
    daemon loads the source.
    """

    def __init__(
        self, place: Place, hello: Hello, *, answer_s: float = _ANSWER_S, on_loading: Callable[[str], None]
    ) -> None:
        self.place = place
        self.closed = False
        self._pid = os.getpid()
        self.items: deque[list[Any]] = deque()
        """What came and was not taken: items of BATCHES.

        Those of batches have a last element that says what came: a `Run`, a frame, or `[segment, offset, nbytes]`.
        """
        self.stable = 0
        """How many acknowledgements of this session the daemon has on disk."""
        self._answers: dict[str, Any] = {}
        self._owed: Counter[str] = Counter()
        self.views = Views()
        self._buffers = Buffers()
        self._done: list[list[int]] = []
        self._released: list[list[int]] = []
        """Runs `[first, count]` of leases, as in TAKE."""
        self.undone = self.unreleased = 0
        """How many leases they name."""
        self._frames: deque[Any] = deque()
        self._handoff: HandOff | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._poller = zmq.Poller()
        try:
            self._connect()
            self._handoff = reach(self.place)
            if self._handoff is not None:
                self.views.anchor = self._handoff.anchor
                hello = replace(hello, token=self._handoff.token)
                self._poller.register(self._handoff.anchor.fd, zmq.POLLIN)
            else:
                hello = replace(hello, codecs=codecs())
            hello = replace(hello, host=socket.gethostname(), pid=os.getpid())
            self._socket.send(hello.pack())
            self.welcome = self._await_welcome(answer_s, on_loading)
        except BaseException:
            self.close()
            raise

    # -- connecting ---------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._socket.setsockopt(zmq.LINGER, _LINGER_MS)
        if self.place.path is None:
            self._socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
            self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 2000)
            self._socket.setsockopt(zmq.IPV6, int("[" in self.place.endpoint))
            if is_loopback(self.place.endpoint):
                self._socket.setsockopt(zmq.RCVBUF, LOOPBACK_BUFFER)
        else:
            _look_at(self.place.path)
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        try:
            self._socket.connect(self.place.endpoint)
        except zmq.ZMQError as error:
            raise Gone(str(error)) from None

    def _await_welcome(self, answer_s: float, on_loading: Callable[[str], None]) -> dict[str, Any]:
        asked, why = time.monotonic(), ""
        deadline: float | None = asked + answer_s
        while True:
            self._wait(_TELL_S if deadline is None else max(0.0, deadline - time.monotonic()))
            if why and time.monotonic() - asked >= _TELL_S:
                log.warning("%s lets nobody in yet: %s", self.place.endpoint, why)
                why = ""
            received = self._receive()
            if received is None:
                if deadline is not None and time.monotonic() >= deadline:
                    raise Gone("nobody answers")
                continue
            verb, fields = received
            if verb == messages.WELCOME:
                return check_welcome(fields[0])
            if verb == messages.REFUSED:
                raise Refused(fields[0])
            if verb == messages.GONE:
                raise Gone(fields[0])
            if verb == messages.LOADING:
                deadline = None  # it is there: loading has a limit of its own, and its end would be noticed
                why = fields[0]
                on_loading(why)

    @property
    def local(self) -> bool:
        """Whether the daemon is on this host."""
        return self._handoff is not None

    # -- receiving ----------------------------------------------------------------------------------------------

    def fill(self, timeout_s: float) -> bool:
        """Take in what has come, waiting up to `timeout_s` for it if there is nothing; whether there is something."""
        self._take_in()
        if not self.items and timeout_s > 0:
            self._wait(timeout_s)
            self._take_in()
        return bool(self.items)

    def wait(self, timeout_s: float) -> None:
        """Wait for anything to come, an answer for example, and take it in."""
        self._wait(max(0.0, timeout_s))
        self._take_in()

    def ask(self, what: str, *argument: int, within_s: float = 1.0) -> Any:
        """The daemon's answer to a question; None when there is none in time."""
        self._answers.pop(what, None)
        self.send(messages.ASK, what, *argument)
        self._owed[what] += 1
        deadline = time.monotonic() + within_s
        while what not in self._answers and (left := deadline - time.monotonic()) > 0:
            self.wait(left)
        return self._answers.get(what)

    def _take_in(self) -> None:
        try:
            self._take_in_all()
        except ProtocolError:
            self.close()  # nothing that it says can be relied on: the next use begins anew
            raise

    def _take_in_all(self) -> None:
        while (received := self._receive()) is not None:
            verb, fields = received
            if verb == BATCHES:
                for item in fields[0]:
                    check_item(item)
                    if item[0] <= FRAME:
                        self._take_in_batches(item)
                    else:
                        self.items.append(item)
                for segment in fields[1]:
                    if type(segment) is int:
                        self.views.forget(segment)
            elif verb == messages.ANSWER:
                self._hear_answer(*fields[:2])
            elif verb == messages.STABLE:
                self.stable = fields[0]
            elif verb == messages.REFUSED:
                raise Refused(fields[0])
            elif verb == messages.GONE:
                raise Gone(fields[0])

    def _take_in_batches(self, item: list[Any]) -> None:
        """Put what a ticket or a frame stands for in line."""
        head = item[:6]
        if head[0] == FRAME:
            if not self._frames:
                raise ProtocolError("the daemon announces a frame that does not come")
            count, step = item[6], item[7]
            place: Any = self._frames.popleft()
            if len(item) > 9:
                place = Compressed(place.buffer, *item[8:10])
            small = len(place) < SMALL
        else:
            place = item[6:9]
            small, count, step = item[8] < SMALL, item[9], item[10]
        self.items.append([*head, Run(head, count, step, place) if small or count > 1 else place])

    def _hear_answer(self, what: str, value: Any) -> None:
        """Each question has one answer, in order: one that was given up before is not taken for that of the next."""
        if self._owed[what]:
            self._owed[what] -= 1
            if not self._owed[what]:
                self._answers[what] = value

    def _receive(self) -> tuple[str, list[Any]] | None:
        if self.closed:
            raise Gone("the session is over")
        try:
            first = self._socket.recv(zmq.NOBLOCK, copy=False)
            self._frames = deque()
            while self._socket.getsockopt(zmq.RCVMORE):
                self._frames.append(self._socket.recv(zmq.NOBLOCK, copy=False))
        except zmq.Again:
            return None
        return unpack(first.buffer, FROM_DAEMON)

    def _wait(self, timeout_s: float | None) -> None:
        ready = dict(self._poller.poll(None if timeout_s is None else math.ceil(timeout_s * 1000)))
        if self._socket in ready:
            return
        if self._monitor in ready:
            why = "the connection was lost"
        elif self._handoff is not None and self._handoff.anchor.fd in ready:
            why = "the daemon has ended"
        else:
            return
        if not self._socket.poll(_LAST_WORDS_MS):  # what it said last may come later than the end of the hand-off
            raise Gone(why)

    # -- leases -------------------------------------------------------------------------------------------------

    def root(self, item: list[Any], *, copy: bool) -> np.ndarray[Any, Any]:
        """The bytes of a batch that has a place of its own, private and writable; a copy, or where they lie."""
        place = item.pop()
        if item[0] == FRAME:
            return np.frombuffer(place.buffer, np.uint8)
        segment, offset, nbytes = place
        if segment not in self.views:
            self._map(segment)
        if copy:
            root = self.views.copy(segment, offset, nbytes)
            self._release(item[1], 1)
            return root
        return self.views.view(item[1], segment, offset, nbytes)

    def read(self, run: Run) -> None:
        """Copy the bytes of a run, whose memory is the daemon's again."""
        if type(run.place) is not list:
            root = self._buffers.take(len(run.place))
            root[:] = run.place.buffer  # ZeroMQ's own may be at any address
            run.read(root)
            return
        segment, offset, nbytes = run.place
        if segment not in self.views:
            self._map(segment)
        there = self.views.peek(segment, offset, (run.count - 1) * run.step + nbytes)
        root = self._buffers.take(there.size)
        root[:] = there
        run.read(root)
        self._release(run.lease, run.count)

    def _map(self, segment: int) -> None:
        if self._handoff is None:
            raise ProtocolError("the daemon sends a ticket over a connection without hand-off")
        try:
            fd, size = self._handoff.segment(segment)
        except OSError as error:
            raise Gone(f"the hand-off failed: {error}") from None
        self.views.add(segment, fd, size)

    def done(self, lease: int) -> None:
        """A lease is acknowledged; it is told with the next `flush`."""
        self.undone += 1
        runs = self._done
        if runs:
            last = runs[-1]
            if last[0] + last[1] == lease:
                last[1] += 1
                return
        runs.append([lease, 1])

    def _release(self, lease: int, count: int) -> None:
        self.unreleased += count
        self._released.append([lease, count])

    def drop(self, item: list[Any]) -> None:
        """An item of before a SEEK, or after the end, is not wanted: give its memory back unread."""
        if item[0] == TICKET:
            place = item[6]
            if type(place) is not Run:
                self._release(item[1], 1)
            elif place.unread:
                self._release(place.lease, place.count)

    def flush(self, least: int = 1) -> None:
        """Tell what was acknowledged and freed, if it is at least so much of either."""
        if self.views.freed:
            for lease in self.views.collect():
                self._release(lease, 1)
        if max(self.undone, self.unreleased) >= max(1, least):
            done, released = self._done, self._released
            self._done, self._released, self.undone, self.unreleased = [], [], 0, 0
            self.send(messages.TAKE, done, join_runs(released))

    def send(self, verb: str, *fields: Any) -> None:
        """Send a message."""
        if self.closed:
            raise Gone("the session is over")
        try:
            self._socket.send(pack(verb, *fields), zmq.NOBLOCK)
        except zmq.Again:
            raise Gone("the daemon does not read") from None

    def close(self, *, bye: bool = False) -> None:
        """End the session. Arrays that the trainer holds stay as they are, and the daemon leaves their slots alone.

        In a forked child nothing is said to the daemon, and no socket is touched: the session is the parent's.
        """
        if self.closed:
            return
        ours = os.getpid() == self._pid
        with contextlib.suppress(Gone, Refused, zmq.ZMQError):
            if bye and ours:
                for item in self.items:
                    self.drop(item)
                self.flush()
                self.send(messages.BYE)
                self._await_goodbye()
        self.closed = True
        self.items.clear()
        self._frames.clear()
        self.views.close()
        self._handoff = None
        if not ours:
            return
        with contextlib.suppress(zmq.ZMQError):
            self._socket.disable_monitor()
            self._monitor.close(0)
            self._socket.close(_LINGER_MS if bye else 0)
            self._context.term()

    def _await_goodbye(self) -> None:
        """The daemon answers BYE with GONE: only then may the hand-off end, lest it is taken for a crash."""
        deadline = time.monotonic() + _GOODBYE_S
        while (left := deadline - time.monotonic()) > 0:
            self.wait(left)


def _look_at(path: str) -> None:
    try:
        os.stat(path)
    except FileNotFoundError:
        raise Gone("there is no socket") from None
    except OSError as error:
        raise Gone(f"the socket cannot be reached: {error.strerror}") from None
