"""Waiting for something to become true, instead of sleeping and hoping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_PAUSE_S = 0.005
_never = threading.Event()


def until(predicate: Callable[[], T], within: float = 5.0, what: str = "") -> T:
    """The first true result of `predicate`; an AssertionError that says what was waited for after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        result = predicate()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what or predicate}; last result {result!r}")
        _never.wait(_PAUSE_S)
