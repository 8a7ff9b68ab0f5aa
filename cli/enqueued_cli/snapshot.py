"""From the plain data that a daemon answers to the snapshot that it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from enqueued.errors import ProtocolError
from enqueued.stats import DaemonStats, GroupStats, MemberStats, StreamStats, WorkerStats

PARTS: dict[str, type[Any]] = {
    "streams": StreamStats,
    "groups": GroupStats,
    "members": MemberStats,
    "workers": WorkerStats,
}


def read(plain: Mapping[str, Any]) -> DaemonStats:
    """The snapshot that `DaemonStats.to_plain` made.

    What a newer daemon says besides is left out, and what an older one does not say yet has its default.
    """
    try:
        snapshot = _read(DaemonStats, plain)
    except (KeyError, TypeError) as error:
        raise ProtocolError(
            f"The daemon's answer cannot be read ({type(error).__name__}: {error}). It is version "
            f"{plain.get('version', 'unknown')}; is it older than this command? See `enqueued --version`."
        ) from None
    assert isinstance(snapshot, DaemonStats)
    return snapshot


def _read(kind: type[Any], plain: Mapping[str, Any]) -> Any:
    values = {}
    for field in fields(kind):
        if field.name not in plain and field.default is not MISSING:
            continue  # an older daemon does not say it
        value = plain[field.name]
        if field.name in PARTS:
            value = tuple(_read(PARTS[field.name], part) for part in value)
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)
