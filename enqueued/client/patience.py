"""Waiting for batches: not silently, and not for ever."""

from __future__ import annotations

import logging
import time

from enqueued.batch import Position
from enqueued.client.link import Link
from enqueued.errors import BatchTimeout

log = logging.getLogger("enqueued.client")

_TELL_S = 30.0
_SLICE_S = 1.0


def await_items(link: Link, at: Position, batch_timeout: float | None) -> None:
    """Wait for items, say for what when it takes long, and raise `BatchTimeout` after `batch_timeout` seconds."""
    began = told = time.monotonic()
    while not link.fill(_SLICE_S if batch_timeout is None else min(_SLICE_S, batch_timeout)):
        waited = time.monotonic() - began
        if batch_timeout is not None and waited >= batch_timeout:
            raise BatchTimeout(f"no batch within {batch_timeout:g} s, waiting for {at[0]}:{at[1]}: {_reason(link)}")
        if time.monotonic() - told >= _TELL_S:
            told = time.monotonic()
            log.warning("waiting %.0f s for %d:%d: %s", waited, *at, _reason(link))


def _reason(link: Link) -> str:
    return str(link.ask("waiting") or "the daemon does not say why")
