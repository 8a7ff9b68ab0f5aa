"""One question to a daemon, without a session."""

from __future__ import annotations

import time
from typing import Any

import zmq

from enqueued.client.handoff import Gone, reach
from enqueued.client.search import nobody, where_to_look
from enqueued.errors import ConnectTimeout
from enqueued.wire.messages import ANSWER, ASK, FROM_DAEMON, pack, unpack
from enqueued.wire.places import Place


def query(what: str, endpoint: str | None = None, timeout_s: float = 5.0, *, name: str | None = None) -> dict[str, Any]:
    """The answer to `what`, such as ``"stats"``, of the daemon at an address or of that name.

    Raises `ConnectTimeout` that lists the places tried.
    """
    tried = []
    deadline = time.monotonic() + timeout_s
    candidates = where_to_look(endpoint, name)[0]
    for place in candidates:
        try:
            reach(place)  # a socket that was left would swallow the question, and the time for the next place
        except Gone as gone:
            tried.append(f"{place.endpoint}: {gone}")
            continue
        answer = _ask(place, what, max(0.1, deadline - time.monotonic()))
        if answer is not None:
            return answer
        tried.append(f"{place.endpoint}: nobody answers")
    raise ConnectTimeout(nobody(tried, candidates, timeout_s))


def _ask(place: Place, what: str, timeout_s: float) -> dict[str, Any] | None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.IPV6, int("[" in place.endpoint))
        sock.connect(place.endpoint)
        sock.send(pack(ASK, what))
        if not sock.poll(int(timeout_s * 1000)):
            return None
        verb, fields = unpack(sock.recv(), FROM_DAEMON)
        return fields[1] if verb == ANSWER and isinstance(fields[1], dict) else None
