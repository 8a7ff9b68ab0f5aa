"""The control socket: groups are listed, moved and forgotten, and sources loaded again, by the daemon's own user."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from enqueued.batch import Position
from enqueued.errors import ConfigError, ProtocolError, Refused
from enqueued.pool.feed import Feed
from enqueued.pool.reactor import Reactor
from enqueued.server.hub import Hub
from enqueued.server.listener import Listener, in_charge, receive
from enqueued.stats import GroupStats
from enqueued.wire.control import GROUPS, MOST_BYTES, RELOAD, RESET, RM, Request, pack_answer, pack_error

log = logging.getLogger("enqueued.server")

_MOST_PEERS = 16
_FRAME_BYTES = 1024
"""What an answer of rows has besides the rows, at most."""
_FAILED = "failed: "
"""How a feed's words begin about a reload that failed."""


class Control:
    """The listening socket and its connections. `obey` carries a request out: its result, or `Refused`, is the answer.

    Only the daemon's user and root are heard, whatever --socket-mode says: who may take batches may not move groups.
    Raises `ConfigError` when there can be no socket at `path`.
    """

    def __init__(self, path: str, *, reactor: Reactor, obey: Callable[[Request], object]) -> None:
        self._reactor = reactor
        self._obey = obey
        self._peers: set[socket.socket] = set()
        try:
            self._listener = Listener(path, 0o600, _MOST_PEERS, reactor=reactor, on_peer=self._admit)
        except OSError as error:
            raise ConfigError(f"{path} cannot be the control socket: {error.strerror or error}") from None

    def _admit(self, peer: socket.socket, _: int, uid: int) -> None:
        if len(self._peers) == _MOST_PEERS:
            for other in list(self._peers):  # one of them may have left just now
                self._hear(other)
        self._peers.add(peer)
        self._reactor.watch(peer.fileno(), lambda: self._hear(peer))
        if not in_charge(uid):
            log.warning("uid %d was not let in to the control socket", uid)
            self._dismiss(peer, f"this daemon is controlled by uid {os.getuid()} and root, and you are uid {uid}")
        elif len(self._peers) > _MOST_PEERS:
            self._dismiss(peer, f"{_MOST_PEERS} others are connected to the control socket")

    def _hear(self, peer: socket.socket) -> None:
        data = receive(peer, MOST_BYTES + 1)
        if data is None:
            return
        if not data:
            self._drop(peer)
            return
        try:
            self._send(peer, pack_answer(self._obey(Request.unpack(data))))
        except ProtocolError as error:
            self._dismiss(peer, str(error))
        except Refused as error:
            self._send(peer, pack_error(str(error)))

    def _send(self, peer: socket.socket, packet: bytes) -> None:
        try:
            peer.send(packet)
        except OSError:  # gone, or it does not read what it asks for
            self._drop(peer)

    def _dismiss(self, peer: socket.socket, why: str) -> None:
        self._send(peer, pack_error(why))
        self._drop(peer)

    def _drop(self, peer: socket.socket) -> None:
        if peer in self._peers:
            self._peers.discard(peer)
            self._reactor.unwatch(peer.fileno())
            peer.close()

    def close(self) -> None:
        """Close everything and remove the socket's file."""
        self._listener.close()
        for peer in list(self._peers):
            self._drop(peer)


class Commands:
    """What the requests do to the streams of a daemon."""

    def __init__(self, feeds: Mapping[str, Feed], hub: Hub) -> None:
        self._feeds = feeds
        self._hub = hub

    def obey(self, request: Request) -> object:
        """Carry a request out; its result is plain data. Raises `Refused`."""
        if request.verb == GROUPS:
            return self._groups(request)
        if request.verb == RESET:
            return self._reset(request, (request.epoch, request.index))
        if request.verb == RM:
            return self._rm(request)
        return self._reload(request) if request.verb == RELOAD else self._loading(request)

    def reload_all(self) -> None:
        """Have every source loaded again; the log says which cannot be, and how it goes with the others."""
        for feed in self._feeds.values():
            feed.reload(at_once=False)

    def _groups(self, request: Request) -> dict[str, Any]:
        """As many rows, from the first that is asked for, as an answer holds."""
        rows = [row for feed in self._asked(request.stream) for row in self._rows(feed)]
        fitting, room = 0, MOST_BYTES - _FRAME_BYTES
        for row in rows[request.first :]:
            room -= len(pack_answer(row))
            if room < 0:
                break
            fitting += 1
        return {"groups": rows[request.first : request.first + fitting], "total": len(rows)}

    def _rows(self, feed: Feed) -> list[dict[str, Any]]:
        if not feed.ready:
            return []
        stream = feed.stream
        groups = [(group, False) for group in feed.stats(self._hub.describe).groups]
        for name, stored in stream.remembered.items():
            if name not in stream.groups and name not in stream.teams:  # else it was reset, and its members still leave
                epoch, index = stored.position
                kind = "ranks" if stored.ranks else "split"
                left = len(stored.missing)
                groups.append((GroupStats(name, False, epoch, index, 0, 0, (), kind, leases=left), True))
        return [
            {"stream": feed.name, **asdict(group), "members": len(group.members), "remembered": remembered}
            for group, remembered in groups
        ]

    def _reset(self, request: Request, to: Position) -> dict[str, Any]:
        feed, group = self._holder(request), str(request.group)
        members = feed.stream.reset(group, to)
        self._hub.dismiss(members, f"group {group!r} was reset to {to[0]}:{to[1]}: connect again")
        log.info("%s: group %r was reset to %d:%d", feed.name, group, *to)
        return {"stream": feed.name, "members": len(members)}

    def _rm(self, request: Request) -> dict[str, Any]:
        feed, group = self._holder(request), str(request.group)
        feed.stream.forget(group)
        log.info("%s: group %r was removed", feed.name, group)
        return {"stream": feed.name}

    def _reload(self, request: Request) -> list[dict[str, Any]]:
        feeds = self._asked(request.stream)
        if busy := [feed.name for feed in feeds if feed.reloading]:
            raise Refused(f"{_listed(busy)}: the source is being loaded again already; ask again when that is done")
        fit = [feed for feed in feeds if not _unfit(feed)]
        if not fit:
            raise Refused("; ".join(f"{feed.name} is not loaded again: {_unfit(feed)}" for feed in feeds))
        for feed in fit:
            feed.reload(at_once=request.at_once)
        return self._loading(request)

    def _loading(self, request: Request) -> list[dict[str, Any]]:
        return [_progress(feed) for feed in self._asked(request.stream)]

    def _asked(self, stream: str | None) -> list[Feed]:
        """The stream of that name, or all."""
        if stream is None:
            return list(self._feeds.values())
        if stream not in self._feeds:
            raise Refused(f"there is no stream {stream!r} here; this daemon serves {_listed(self._feeds)}")
        return [self._feeds[stream]]

    def _holder(self, request: Request) -> Feed:
        """The stream that is meant: the one that is named, or else the only one that knows the group."""
        feeds = self._asked(request.stream)
        for feed in feeds:
            if not feed.ready:
                raise Refused(f"{feed.waiting_for()}; its groups are known when that is done")
        knowing = [feed for feed in feeds if any(row["name"] == request.group for row in self._rows(feed))]
        if len(knowing) > 1:
            streams = _listed(feed.name for feed in knowing)
            raise Refused(f"{streams} have a group {request.group!r} each: say which stream is meant")
        if not knowing and len(feeds) > 1:
            known = {row["name"]: None for feed in feeds for row in self._rows(feed) if row["kind"] != "private"}
            raise Refused(f"there is no group {request.group!r} in any stream; there are {_listed(known) or 'none'}")
        return (knowing or feeds)[0]


def _progress(feed: Feed) -> dict[str, Any]:
    """How loading a source again goes, or how it went the last time."""
    went = "" if feed.reloading else feed.last_reload
    failed = went.startswith(_FAILED)
    return {
        "stream": feed.name,
        "file": feed.facts.get("file") or feed.spec.target,
        "loading": feed.reloading,
        "unfit": _unfit(feed),
        "loaded": "" if failed else went,
        "error": went.removeprefix(_FAILED) if failed else "",
    }


def _unfit(feed: Feed) -> str:
    """Why a source cannot be loaded again; empty when it can."""
    if not feed.ready:
        return "it is not loaded yet"
    return "" if feed.facts["indexed"] else "it is streamed, and only goes forward; restart the daemon"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
