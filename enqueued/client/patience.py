"""Waiting for batches: not silently, and not for ever."""

from __future__ import annotations

import logging
import time

from enqueued.batch import Position
from enqueued.client.link import Link
from enqueued.client.ranks import Share
from enqueued.errors import BatchTimeout, RankLost

log = logging.getLogger("enqueued.client")

_TELL_S = 30.0
_TELL_SPLIT_S = 10.0
"""The members of a split group wait for each other at the end of an epoch, and one that hangs is found sooner."""
_SLICE_S = 1.0


def await_items(link: Link, at: Position, batch_timeout: float | None, share: Share, *, begun: bool) -> None:
    """Wait for items, and say for what when it takes long. `begun` says that this session has had a batch.

    Raises `BatchTimeout` after `batch_timeout` seconds, or `RankLost` when other ranks are not there.
    """
    began = time.monotonic()
    pause = _TELL_SPLIT_S if share.split else _TELL_S
    tell_at = began + pause
    while not link.fill(_SLICE_S if batch_timeout is None else min(_SLICE_S, batch_timeout)):
        now = time.monotonic()
        if batch_timeout is not None and now - began >= batch_timeout:
            lost = _lost(link, share, begun=begun)
            if lost is not None:
                raise lost
            raise BatchTimeout(f"no batch within {batch_timeout:g} s, waiting for {at[0]}:{at[1]}: {_reason(link)}")
        if now >= tell_at:
            tell_at = now + _TELL_S
            log.warning(
                "waiting %.0f s for %d:%d: %s", now - began, *at, _lost(link, share, begun=begun) or _reason(link)
            )


def _reason(link: Link) -> str:
    return str(link.ask("waiting") or "the daemon does not say why")


def _lost(link: Link, share: Share, *, begun: bool) -> RankLost | None:
    """Who of the other ranks is waited for, if it is that."""
    missing = link.ask("missing") if share.rank is not None else None
    ranks = tuple(one for one in missing if type(one) is int) if isinstance(missing, list) else ()
    if not ranks:
        return None
    who = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks[:20]))}"
    verb = "has" if len(ranks) == 1 else "have"
    what = "left: its positions wait for it" if begun else f"not joined yet: all {share.world_size} begin together"
    advice = "Start it again with its state, or end this run" if begun else "Has it been started, with this group?"
    return RankLost(f"{who} of group {share.group!r} {verb} {what}. {advice}", ranks=ranks)
