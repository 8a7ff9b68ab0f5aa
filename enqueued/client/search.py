"""Finding a daemon: every place where it may be, until one answers or the time is up."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from enqueued.client.handoff import Gone
from enqueued.client.link import Link
from enqueued.errors import ConfigError, ConnectTimeout
from enqueued.wire.hello import Hello
from enqueued.wire.places import NAME_VARIABLE, VARIABLE, Place, parse, places

log = logging.getLogger("enqueued.client")

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5
_TELL_S = 10.0
_FIRST_TELL_S = 1.0


def where_to_look(where: str | None, name: str | None = None) -> tuple[list[Place], str | None]:
    """The places that an argument `where` means, and the stream: an address, a stream's name, or nothing.

    Without an address it is the daemon `name` of this host, or the one that ``ENQUEUED_NAME`` names, or ``default``.
    """
    if where is not None and "://" in where:
        place = parse(where)
        return [place], place.stream
    if where is not None and ":" in where:
        raise ConfigError(f'{where!r} is neither an address nor a stream\'s name; did you mean "tcp://{where}"?')
    found = places(name or os.environ.get(NAME_VARIABLE) or "default", os.environ)
    return found, where if where is not None else found[0].stream


def find(candidates: Sequence[Place], hello: Hello, timeout_s: float) -> Link:
    """A session with the first daemon that answers. Raises `ConnectTimeout` that lists what was tried, or `Refused`."""
    deadline = time.monotonic() + timeout_s
    pause, tell_at = _FIRST_PAUSE_S, time.monotonic() + _FIRST_TELL_S
    while True:
        reasons = []
        for place in candidates:
            left = deadline - time.monotonic()
            try:
                return Link(place, hello, answer_s=max(0.1, min(left, 5.0)), on_loading=_tell_loading)
            except Gone as gone:
                reasons.append(f"{place.endpoint}: {gone}")
        now = time.monotonic()
        if now + pause > deadline:
            raise ConnectTimeout(nobody(reasons, candidates, timeout_s))
        if now > tell_at:
            tell_at = now + _TELL_S
            log.warning("no daemon yet, for %.0f s more: %s", deadline - now, "; ".join(reasons))
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE_S, pause * 1.5)


def _tell_loading(text: str) -> None:
    log.info("the daemon is starting: %s", text)


def nobody(reasons: Sequence[str], candidates: Sequence[Place], timeout_s: float) -> str:
    """What to tell when no daemon answered: what was tried, why not, and what to do."""
    lines = [f"no daemon answered within {timeout_s:g} s. Tried:", *(f"  {reason}" for reason in reasons)]
    known = {place.path for place in candidates if place.path is not None}
    others: set[str] = set()
    for folder in {Path(path).parent for path in known}:
        with contextlib.suppress(OSError):  # one that may not be looked into
            others |= {str(path) for path in folder.glob("*.sock") if path.is_socket()} - known
    if others:
        lines.append(
            f"There are other daemons. To reach one, set {VARIABLE}=ipc://{min(others)}, or give that address."
        )
    lines.append("Start one with: enqueued serve --sequence mymod:MySeq")
    return "\n".join(lines)
