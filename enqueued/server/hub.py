"""Who is connected, and what they say: sessions, and the messages that begin, feed and end them."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from enqueued.arena.table import SegmentTable
from enqueued.errors import ProtocolError, Refused
from enqueued.pool.feed import Feed
from enqueued.server.anteroom import Anteroom, Early
from enqueued.server.endpoint import Endpoint, Incoming
from enqueued.server.flow import Gauge
from enqueued.server.handoff import HandOff
from enqueued.server.outbox import CompressingOutbox
from enqueued.server.press import Press
from enqueued.server.session import Session
from enqueued.server.welcome import MOST_CREDIT, check_canary, welcome
from enqueued.stats import DaemonStats, MemberStats
from enqueued.stream.group import Member
from enqueued.stream.roster import NotYet
from enqueued.wire import messages
from enqueued.wire.compression import ZSTD, codecs
from enqueued.wire.hello import Hello
from enqueued.wire.messages import (
    ANSWER,
    FROM_CLIENT,
    GONE,
    REFUSED,
    STABLE,
    WELCOME,
    pack,
    position,
    runs,
    unpack,
)

log = logging.getLogger("enqueued.server")

_SUSPECT_S = 3.0


class Hub:
    """The sessions of a daemon. `snapshot` makes the answer to a question for stats."""

    def __init__(
        self,
        feeds: Mapping[str, Feed],
        table: SegmentTable,
        *,
        incarnation: str,
        max_clients: int,
        press: Press,
        snapshot: Callable[[], DaemonStats],
    ) -> None:
        self.handoff: HandOff | None = None
        self.ignored = 0
        self.closing = ""
        """Why no further client is let in; empty while they are."""
        self._feeds = feeds
        self._table = table
        self._incarnation = incarnation
        self._max_clients = max_clients
        self._press = press
        self._snapshot = snapshot
        self._numbers = itertools.count(1)
        self._by_peer: dict[tuple[int, bytes], Session] = {}
        self._by_name: dict[str, Session] = {}
        self._lingering: list[Session] = []
        """Sessions that are over and whose slots somebody still reads."""
        self._early = Anteroom(self._welcome, self._refuse)
        self._framed: dict[str, Session] = {}
        """Those that are served by socket, and so looked at in every turn, however many others there are."""
        self._suspects: dict[str, float] = {}
        """Sessions over a connection that ended; they are probed until then."""
        self._unflushed: set[Session] = set()

    def __len__(self) -> int:
        return len(self._by_name)

    # -- messages -----------------------------------------------------------------------------------------------

    def hear(self, endpoint: Endpoint) -> None:
        """Take what has come to an endpoint."""
        for incoming in endpoint.receive():
            try:
                verb, fields = unpack(incoming.data, FROM_CLIENT)
                self._obey(endpoint, incoming, verb, fields)
            except ProtocolError as error:
                self.ignored += 1
                log.debug("a message was ignored: %s", error)
            except Refused as error:
                endpoint.send(incoming.peer, pack(REFUSED, str(error)))

    def _obey(self, endpoint: Endpoint, incoming: Incoming, verb: str, fields: list[object]) -> None:
        if verb == messages.HELLO:
            self._welcome_or_wait(endpoint, incoming, fields[0])
            return
        session = self._by_peer.get((id(endpoint), incoming.peer))
        if verb == messages.ASK:
            endpoint.send(incoming.peer, pack(ANSWER, fields[0], self._answer(session, fields)))
        elif session is None:
            self.ignored += 1
            if not self._early.knows(incoming.peer):
                endpoint.send(incoming.peer, pack(GONE, "this daemon knows no such session"))
        elif verb == messages.TAKE:
            self._take(session, fields)
        elif verb == messages.CREDIT:
            session.feed.stream.allow(session.name, min(MOST_CREDIT, _count(fields[0])))
        elif verb == messages.SEEK:
            session.feed.stream.seek(session.name, _count(fields[0]), position(fields[1], fields[2]))
        elif verb == messages.BYE:
            self._depart(session)
            endpoint.send(incoming.peer, pack(GONE, "goodbye"))

    def _take(self, session: Session, fields: list[object]) -> None:
        done, released = fields[0], fields[1]
        assert isinstance(done, list)
        assert isinstance(released, list)
        stream, acknowledged = session.feed.stream, runs(done)
        if session.frames:
            stream.done(session.name, acknowledged)
            session.settle()
        elif done == released:
            stream.finish(session.name, acknowledged)
        else:
            stream.release(session.name, runs(released))
            stream.done(session.name, acknowledged)

    def _answer(self, session: Session | None, question: list[object]) -> object:
        what = question[0]
        if what == "stats":
            return self._snapshot().to_plain()
        if session is None:
            return None
        feed = session.feed
        group = feed.stream.members[session.name].group
        if what == "spec":
            return feed.header or None
        if what == "waiting":
            return feed.stream.waits_for(group) or feed.waiting_for()
        if what == "canary" and len(question) > 1 and feed.facts["indexed"]:
            return feed.canary(position(question[1], 0, "canary")[0])
        if what == "group" and not group.private:
            (epoch, index), missing = group.standing()
            return {"epoch": epoch, "index": index, "missing": missing}
        if what == "missing" and group.team is not None:
            return group.team.absent
        return None

    # -- sessions -----------------------------------------------------------------------------------------------

    def _welcome_or_wait(self, endpoint: Endpoint, incoming: Incoming, plain: object) -> None:
        try:
            hello = Hello.from_plain(plain if isinstance(plain, dict) else {})
        except ProtocolError as error:
            raise Refused(str(error)) from None
        if self.closing:
            endpoint.send(incoming.peer, pack(GONE, self.closing))
            return
        before = self._by_peer.get((id(endpoint), incoming.peer))
        if before is not None:
            self._depart(before)
        self._early.drop(lambda early: early.endpoint is endpoint and early.incoming.peer == incoming.peer)
        if len(self._by_name) + len(self._early) >= self._max_clients:
            raise Refused(f"{self._max_clients} clients are connected, and --max-clients is {self._max_clients}")
        if hello.claim.world_size > self._max_clients:
            raise Refused(
                f"{hello.claim.world_size} ranks cannot all be here: --max-clients is {self._max_clients}; start the "
                "daemon with more"
            )
        if hello.token is not None and (self.handoff is None or hello.token not in self.handoff):
            endpoint.send(incoming.peer, pack(GONE, "the hand-off connection that the client names is not there"))
            return
        self._early.enter(Early(endpoint, incoming, hello, self._find(hello.stream)))

    def _find(self, name: str | None) -> Feed:
        if name is None and len(self._feeds) == 1:
            return next(iter(self._feeds.values()))
        feed = self._feeds.get(name or "default")
        if feed is None:
            streams = ", ".join(map(repr, self._feeds))
            asked = f"there is no stream {name!r} here" if name else "name a stream"
            raise Refused(f"{asked}; this daemon serves {streams}")
        return feed

    def _welcome(self, early: Early) -> None:
        """Let a client in. Raises `NotYet` when it has to wait."""
        endpoint, incoming, hello, feed = early.endpoint, early.incoming, early.hello, early.feed
        session = Session(next(self._numbers), endpoint, incoming.peer, incoming.connection, hello, feed)
        try:
            check_canary(feed, hello.canary)
            group = feed.stream.join(session.name, hello.claim)
        except NotYet:
            raise
        except Refused as error:
            self._refuse(early, str(error))
            return
        if session.frames and ZSTD in hello.codecs and codecs():
            gauge, on_done = Gauge(session.connection), partial(self._advance, session)
            session.outbox = CompressingOutbox(endpoint, session.peer, gauge, self._press, on_done)
        self._by_peer[id(endpoint), incoming.peer] = session
        self._by_name[session.name] = session
        if session.frames:
            self._framed[session.name] = session
        endpoint.send(incoming.peer, pack(WELCOME, welcome(feed, group, self._incarnation, frames=session.frames)))
        log.debug("%s (%s pid %d) joined %s", session.name, hello.host, hello.pid, group.name)

    def _refuse(self, early: Early, why: str) -> None:
        early.endpoint.send(early.incoming.peer, pack(REFUSED, why))

    def dismiss(self, names: Iterable[str], reason: str) -> None:
        """Have members leave; they come back by themselves, as to a new daemon."""
        for session in [self._by_name[name] for name in names if name in self._by_name]:
            session.endpoint.send(session.peer, pack(GONE, reason))
            self._depart(session)

    def stable(self, acknowledged: Mapping[str, int]) -> None:
        """Tell members how many of their acknowledgements are on disk."""
        for name, count in acknowledged.items():
            session = self._by_name.get(name)
            if session is not None and session.stable != count:
                session.stable = count
                session.endpoint.send(session.peer, pack(STABLE, count))

    def _depart(self, session: Session) -> None:
        """A session is over: it is out of its group, but slots that the client's arrays lie in stay its own."""
        stream = session.feed.stream
        member = stream.members.get(session.name)
        if member is not None and not session.frames:
            session.held = [number for number, lease in member.leases.items() if not lease.is_released(number)]
        self._remove(session)

    def _remove(self, session: Session) -> None:
        session.outbox.close()
        kept = session.held + session.pinned
        self._suspects.pop(session.name, None)
        self._unflushed.discard(session)
        self._by_name.pop(session.name, None)
        self._framed.pop(session.name, None)
        self._by_peer.pop((id(session.endpoint), session.peer), None)
        session.feed.stream.leave(session.name, kept)
        if kept:
            self._lingering.append(session)
        log.debug("%s is gone", session.name)

    def _end(self, session: Session) -> None:
        """A client is gone and holds nothing any more; what a socket still reads stays until it has."""
        self._remove(session)

    def peer_gone(self, token: bytes) -> None:
        """A process on this host has ended, or its hand-off connection has: nobody there holds a slot any more."""
        self._early.drop(lambda early: early.hello.token == token)
        for session in [s for s in self._by_name.values() if s.token == token]:
            self._end(session)
        for session in self._lingering:
            if session.token == token and session.held:
                session.feed.stream.release(session.name, [(number, 1) for number in session.held])
                session.held = []

    def connection_lost(self, connection: int) -> None:
        """A ZeroMQ connection has ended; whose it was shows when its sessions are probed."""
        until = time.monotonic() + _SUSPECT_S
        for session in self._framed.values():
            if session.connection == connection:
                self._suspects[session.name] = until
        self._early.suspect(connection, until)

    # -- every turn ---------------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Carry what the streams have decided to their members."""
        for feed in self._feeds.values():
            for decision in feed.decisions():
                session = self._by_name.get(decision.member)
                if session is None:
                    continue
                self._unflushed.add(session)
                if not session.put(decision, self._table):
                    self._depart(session)
        if self._table.forgotten:
            forgotten, self._table.forgotten = self._table.forgotten, []
            for session in self._by_name.values():
                if not session.frames:
                    session.forget.extend(forgotten)
                    self._unflushed.add(session)
        while self._unflushed:
            session = self._unflushed.pop()
            if not session.flush():
                self._depart(session)  # not `_end`: a process that has stopped still has arrays in its slots

    def _advance(self, session: Session) -> None:
        """Frames to a client have been compressed."""
        if not session.outbox.advance():
            self._depart(session)
        session.settle()

    def settle(self) -> None:
        """Give back what sockets have read."""
        for session in self._framed.values():
            session.settle()

    def tick(self, now: float) -> None:
        """Let in who came early, probe who may be gone, and let go of who holds nothing any more."""
        self._early.tick(now)
        for name, until in list(self._suspects.items()):
            session = self._by_name[name]
            if session.endpoint.send(session.peer, pack(ANSWER, "probe", None)) is None:
                self._end(session)
            elif now > until:
                del self._suspects[name]
        for session in list(self._lingering):
            session.settle()
            if not session.held and not session.pinned:
                self._lingering.remove(session)

    # -- the end ------------------------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Whether no member of a named group holds a batch that it may still acknowledge."""
        groups = [group for feed in self._feeds.values() if feed.ready for group in feed.stream.groups.values()]
        return not any(group.holding() for group in groups if not group.private)

    def say_goodbye(self, reason: str) -> None:
        """Tell every client that its session is over."""
        for session in list(self._by_name.values()):
            session.endpoint.send(session.peer, pack(GONE, reason))
        for early in self._early:
            early.endpoint.send(early.incoming.peer, pack(GONE, reason))

    def describe(self, member: Member) -> MemberStats:
        """A snapshot of one member."""
        return self._by_name[member.name].describe(member, time.monotonic())


def _count(value: object) -> int:
    assert isinstance(value, int)  # `unpack` has checked it
    return value
