"""Keeps where named groups stand on disk, so that a daemon that was killed loses nothing of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from enqueued.pool.feed import Feed
from enqueued.server.state import StateFile
from enqueued.stream.record import Record, record, settle, unbind

log = logging.getLogger("enqueued.server")

_EVERY_S = 1.0
_SOON_S = 0.02
"""How often it is tried where a group waits for it: the file itself is written once a second at most."""
_STUCK_S = 5.0


class Recorder:
    """Writes at most once a second, and only what has changed. `on_stable` learns what members acknowledged before."""

    def __init__(self, file: StateFile, feeds: Mapping[str, Feed], on_stable: Callable[[dict[str, int]], None]) -> None:
        self._file = file
        self._feeds = feeds
        self._on_stable = on_stable
        self._last: dict[str, Any] = {}
        self._looked = 0.0
        self._failures = 0
        self._offered: float | None = None
        """Since when a write is under way."""

    def load(self) -> None:
        """Give each feed what was written of its groups, unless it serves other data now."""
        self._last = self._file.load()
        for name, feed in self._feeds.items():
            feed.remembered = {}
            kept = self._last.get(name)
            if not isinstance(kept, dict) or not isinstance(kept.get("groups"), dict) or not kept["groups"]:
                continue
            if kept.get("fingerprint") != feed.spec.fingerprint():
                log.warning(
                    "%s serves another source or other settings than before: where the groups %s stood is forgotten",
                    name,
                    ", ".join(kept["groups"]),
                )
            else:
                feed.remembered = kept["groups"]

    def tick(self, now: float) -> None:
        """Write what has changed, and tell of what was written."""
        written = self._file.written()
        if written is not None:
            self._offered = None
            self._settle(written)
        if self._file.failures != self._failures:  # serving goes on, with less of a promise
            self._failures = self._file.failures
            self._go_on()
        if self._offered is not None and now - self._offered > _STUCK_S:
            log.warning("the state file was not written within %g s; named groups go on without it", _STUCK_S)
            self._go_on()
        streams = [feed.stream for feed in self._feeds.values() if feed.ready]
        fresh = any(stream.fresh for stream in streams)
        if now - self._looked < (_SOON_S if fresh else _EVERY_S) or len(streams) < len(self._feeds):
            return
        self._looked = now
        plain, records = self._record()
        if (fresh or plain != self._last) and self._file.offer(plain, now, records):
            self._last, self._offered = plain, now
            for stream in streams:
                stream.fresh = False

    def _go_on(self) -> None:
        """Serve with less of a promise."""
        self._offered = None
        for feed in self._feeds.values():
            if feed.ready:
                unbind(feed.stream)

    def close(self) -> None:
        """Write the last state. The members are leaving in order, so nobody is expected back."""
        if all(feed.ready for feed in self._feeds.values()):
            self._file.close(self._record(final=True)[0])
        else:
            self._file.close()

    def _record(self, *, final: bool = False) -> tuple[dict[str, Any], dict[str, Record]]:
        records = {name: record(feed.stream, final=final) for name, feed in self._feeds.items()}
        return {
            name: {"fingerprint": self._feeds[name].spec.fingerprint(), "groups": one.plain}
            for name, one in records.items()
        }, records

    def _settle(self, records: dict[str, Record]) -> None:
        for name, one in records.items():
            settle(self._feeds[name].stream, one)
            self._on_stable(one.acked)
