"""How the whole pool dies with the daemon, whatever user code is doing at that moment.

The daemon holds one end of a pipe and the pool the other, with ``SIGKILL`` as the signal that the kernel sends to the
pool's process group when the pipe breaks (``F_SETSIG``, ``O_ASYNC``: fcntl(2)). It also reaches stopped and busy
processes and the user's own children. ``PR_SET_PDEATHSIG`` follows one thread of the direct parent, and generations of
zygotes outlive theirs (CONTRIBUTING.md, "Decisions").
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal

_F_SETSIG = 10
_PR_SET_CHILD_SUBREAPER = 36


def hang_on(lifeline: int) -> None:
    """Make this process group, which this process leads, die when the other end of `lifeline` is closed."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    try:
        os.read(lifeline, 1)  # it may have broken before the signal was asked for
    except BlockingIOError:
        return
    os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that somebody waits for them."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def name_process(name: str) -> None:
    """The name that `ps` and `top` show, at most 15 characters."""
    with open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write(name[:15])
