"""Canaries: checksums of first batches, by which a source that was built again proves that it gives the same data."""

from __future__ import annotations

import logging
import time
from collections import Counter

log = logging.getLogger("enqueued.pool")

CANARY = -1
"""The index at which a worker is ordered a canary: the batch at index 0, of which only the checksum is wanted."""
UNREPRODUCIBLE = "unreproducible"
"""The kind of an error that stands for every batch of a source that is not what it was."""
_MOST = 1000
"""So many epochs are remembered."""
_PATIENCE_S = 10.0
"""A canary that is asked for no more often than this is not wanted any more."""
_TRIES = 3
"""A canary that killed its worker, or failed in a proof, so often is given up."""
_REMEDY = (
    "Does it hold a generator of its own that nobody seeds, such as default_rng()? Seed it, or draw from enqueued.rng()"
)


class Canaries:
    """What is known of the canaries of one source: what each was first, and which somebody waits for."""

    def __init__(self, target: str) -> None:
        self.wanted: dict[int, float] = {}
        """Epochs whose canary was asked for and is still to come, and when it was asked for last."""
        self._target = target
        self._known: dict[int, str] = {}
        self._failed: dict[int, str] = {}
        self._tries: Counter[int] = Counter()
        self._warned = False

    @property
    def latest(self) -> int | None:
        """The last epoch whose canary is known."""
        return max(self._known, default=None)

    def known(self, epoch: int) -> str | None:
        """The checksum of an epoch's canary, if it is known."""
        return self._known.get(epoch)

    def get(self, epoch: int) -> str | None:
        """The checksum of an epoch's canary, or ``"error: ..."``, which is told once; None when it is still to come."""
        if epoch in self._known:
            return self._known[epoch]
        if epoch in self._failed:
            return f"error: {self._failed.pop(epoch)}"
        self.wanted[epoch] = time.monotonic()
        return None

    def expire(self, now: float) -> None:
        """Forget what nobody asks for any more: whoever wanted it has left, and it may be an epoch that is far away."""
        for epoch in [epoch for epoch, asked in self.wanted.items() if now - asked > _PATIENCE_S]:
            self._settle(epoch)

    def learn(self, epoch: int, found: str) -> None:
        """A worker has made an epoch's first batch, whoever asked for it. What was told before stays."""
        known = self._known.setdefault(epoch, found)
        if len(self._known) > _MOST:
            del self._known[next(iter(self._known))]
        self._settle(epoch)
        if known != found and not self._warned:
            self._warned = True
            log.warning(
                "%s made the batch at %d:0 twice, and the two differ: what is made again after a crash, for another "
                "group or after a resume is other data. %s",
                self._target,
                epoch,
                _REMEDY,
            )

    def fail(self, epoch: int, why: str) -> None:
        """An epoch's first batch cannot be made."""
        if epoch in self.wanted:
            self._failed[epoch] = why
            if len(self._failed) > _MOST:
                del self._failed[next(iter(self._failed))]
        self._settle(epoch)

    def tried(self, epoch: int) -> bool:
        """Another try has come to nothing; whether that was the last."""
        self._tries[epoch] += 1
        return self._tries[epoch] >= _TRIES

    def _settle(self, epoch: int) -> None:
        self.wanted.pop(epoch, None)
        self._tries.pop(epoch, None)

    def refutation(self, epoch: int, found: str, changed: str) -> str:
        """What is told when a source that was built again does not give what it gave before; `found` says what.

        `changed` is the source's file if that is another one by now.
        """
        if changed:
            return (
                f"{self._target} was loaded again because its process ended, and by then {changed} had changed: the "
                f"batch at {epoch}:0 is not what it was. Restart the daemon, or use `enqueued reload`"
            )
        return (
            f"{self._target} cannot be reproduced: its process ended, it was built again, and the batch at {epoch}:0 "
            f"is not what it was (checksum {self._known.get(epoch)}, now {found}). {_REMEDY}; the daemon goes on with "
            "new data after a restart, or after `enqueued reload`"
        )
