"""What a new member is told, and what a saved state has to stand before it is believed."""

from __future__ import annotations

import shlex
from typing import Any

from enqueued import __version__
from enqueued.errors import Refused
from enqueued.pool.feed import Feed
from enqueued.stream.group import Group
from enqueued.stream.roster import NotYet

MOST_CREDIT = 4096
_MOST_FLAG = 2000
_FOR_EVER_S = 1e9
"""Making the batch has limits of its own."""


def check_canary(feed: Feed, canary: tuple[int, str] | None) -> None:
    """Make sure that the source gives the data that a saved state comes from. Raises `Refused`, and `NotYet` before."""
    if canary is None or not feed.facts["indexed"]:
        return
    epoch, checksum = canary
    found = feed.canary(epoch)
    if found is None:
        raise NotYet(f"batch {epoch}:0 is being made, to compare it with the saved state's", _FOR_EVER_S)
    if found.startswith("error:"):
        raise Refused(f"batch {epoch}:0 cannot be compared with the saved state's; {found}")
    if found != checksum:
        raise Refused(
            f"batch {epoch}:0 of {feed.spec.target} is another one than when the state was saved (checksum {found}, "
            f"was {checksum}): the source cannot be reproduced, so going on would repeat some data and leave out "
            "other. It draws from a generator that nobody seeds, such as an own default_rng(), or its data have "
            "changed. `enqueued check --deterministic` shows what differs; enqueued.rng() is seeded for each batch. "
            "load_state_dict(state, strict=False) goes on all the same."
        )


def welcome(feed: Feed, group: Group, incarnation: str, *, frames: bool) -> dict[str, Any]:
    """The map of a WELCOME."""
    stream, facts, team = feed.stream, feed.facts, group.team
    epoch, index = group.cursor
    return {
        "version": __version__,
        "incarnation": incarnation,
        "stream": feed.name,
        "transport": "frames" if frames else "slots",
        "kind": feed.spec.kind,
        "indexed": facts["indexed"],
        "source": feed.spec.target,
        "check": shlex.join(["enqueued", "check", *map(_printable, feed.spec.flags())]),
        "length": stream.lengths.get(epoch, stream.lengths.get(0)) if facts["indexed"] else None,
        "epoch": epoch,
        "index": index,
        "base": None if team is None else group.base,
        "origin": None if team is None else team.origin,
        "generation": group.generation,
        "credit_limit": MOST_CREDIT,
        "reorder_window": stream.reorder_window,
        "hooked": bool(facts["hook"]),
        "fingerprint": feed.spec.fingerprint() | {"length": facts["length"]},
        "file": facts["file"],
        "hash": facts["hash"],
        "loaded_at": facts["loaded_at"],
    }


def _printable(flag: str) -> str:
    """A flag as it fits a message and a screen: an argument may be as long as a file."""
    return flag if len(flag) <= _MOST_FLAG else f"{flag[:40]}...({len(flag)} characters)"
