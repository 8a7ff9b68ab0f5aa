"""Who waits for whom: samples of a stream, and a verdict from the last seconds."""

from __future__ import annotations

import math
import time

from enqueued.stats import LOADING
from enqueued.stream.core import Stream

_RECENT_S = 5.0
_WORTH_TELLING = 10
"""Percent of the time from which on a wait is called the bottleneck."""


class Pace:
    """How long clients waited for batches (`starved_s`) and workers for room in the queue (`full_s`)."""

    def __init__(self) -> None:
        self.starved_s = self.full_s = 0.0
        self._sampled = time.monotonic()
        self._recently = self._recently_starved = self._recently_full = 0.0

    def sample(self, stream: Stream, now: float) -> None:
        """Look at the stream."""
        passed = now - self._sampled
        self._sampled = now
        kept = math.exp(-passed / _RECENT_S)
        starving, full = stream.starving, stream.full
        self.starved_s += passed * starving
        self.full_s += passed * full
        self._recently_starved = self._recently_starved * kept + starving * (1 - kept)
        self._recently_full = self._recently_full * kept + full * (1 - kept)
        self._recently = self._recently * kept + 1 - kept

    def verdict(self, stream: Stream | None) -> str:
        """Who is the bottleneck."""
        if stream is None:
            return LOADING
        if not stream.groups:
            return "no client: the first batches are ready" if stream.full else "no client"
        recently = self._recently or 1.0
        starved, full = round(self._recently_starved / recently * 100), round(self._recently_full / recently * 100)
        if starved >= _WORTH_TELLING and starved >= full:
            return f"worker-bound: a client waits {starved} % of the time; add workers or make batches cheaper"
        if full >= _WORTH_TELLING:
            return f"client-bound: the queue is full {full} % of the time; the workers could do more"
        return "balanced"
