"""What becomes of clients when their process forks, or ends."""

from __future__ import annotations

import atexit
import os
import weakref
from contextlib import suppress
from typing import Protocol

from enqueued.client.link import Link


class Living(Protocol):
    """Something with a session, as long as `link` is there."""

    link: Link | None

    def depart(self) -> None:
        """End the session, because nobody is there to do it."""


_all: weakref.WeakSet[Living] = weakref.WeakSet()


def watch_over(one: Living) -> None:
    """Have its session end with the program, and be the parent's alone after a fork."""
    _all.add(one)


@atexit.register
def _at_exit() -> None:
    for one in list(_all):
        with suppress(Exception):  # nobody is there to hear of it
            one.depart()


def _before_fork() -> None:
    for one in list(_all):
        if one.link is not None:
            one.link.views.keep()


def _after_fork() -> None:
    for one in list(_all):
        link, one.link = one.link, None
        if link is not None:
            link.close()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
