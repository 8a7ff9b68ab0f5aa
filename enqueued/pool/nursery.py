"""The nursery: a process of the calling program that imports its modules once, and from which its pools are forked.

It runs no user code but these imports. Each request comes with the descriptors of a new pool: its channel, its
lifeline, what it is to load, and a socket on which the nursery says how its first zygote fares.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
from typing import NoReturn

import msgpack
import numpy.random  # noqa: F401 - every pool needs it

from enqueued.pool.channel import Channel
from enqueued.pool.children import Wakeup, ended, ending
from enqueued.pool.lifeline import adopt_orphans, hang_on, name_process
from enqueued.pool.program import Program
from enqueued.pool.zygote import lead
from enqueued.source.image import fork_hazard


class Nursery:
    """The children that were made, and who is told of their end."""

    def __init__(self, channel: Channel, lifeline: int) -> None:
        self._channel = channel
        self._lifeline = lifeline
        self._children: dict[int, Channel] = {}
        self._warmed: set[str] = set()
        self._hazard: str | None = None
        """Why this process cannot be forked any more: a module that it imported has started threads."""

    def serve(self) -> None:
        """Make pools until the calling program lets go."""
        wakeup = Wakeup(self._channel)
        while True:
            self._reap()
            if wakeup.wait():
                if self._channel.receive(wait=True) is None:
                    return
                self._plant(self._channel.take_fds(), wakeup)

    def _reap(self) -> None:
        """Wait for whoever has ended: pools, and what they leave behind, for it comes here as an orphan."""
        for pid, status in ended():
            told = self._children.pop(pid, None)
            if told is not None:
                with contextlib.suppress(OSError):
                    told.send({"exited": status})
                told.close()

    def _plant(self, fds: list[int], wakeup: Wakeup) -> None:
        channel, lifeline, boot, told = fds
        self._warm(boot)
        if self._hazard is None:
            pid = os.fork()
            if pid == 0:
                _lead(self, fds, wakeup)
        else:
            for fd in (channel, lifeline):
                os.set_inheritable(fd, True)
            command = [sys.executable, "-P", "-m", "enqueued.pool.zygote", str(channel), str(lifeline)]
            pid = os.posix_spawn(sys.executable, command, os.environ, setsid=True)
        status = self._children[pid] = Channel(socket.socket(fileno=told))
        with contextlib.suppress(OSError):
            status.send({"planted": pid})
        for fd in (channel, lifeline, boot):
            os.close(fd)

    def _warm(self, boot: int) -> None:
        """Import what this pool needs and none before it did."""
        program = Program(**msgpack.unpackb(os.pread(boot, os.fstat(boot).st_size, 0))["sent"]["program"])
        needed = {*program.modules, program.main_name, program.main_path} - {""}
        if self._hazard is None and not needed <= self._warmed:
            self._warmed |= needed
            program.warm()
            self._hazard = fork_hazard()
            gc.collect()
            gc.freeze()  # so that no child's collector touches, and so copies, what they share

    def leave(self, wakeup: Wakeup) -> None:
        """In a child: give up what is the nursery's."""
        wakeup.let_go()
        os.close(self._lifeline)
        self._channel.close()
        for status in self._children.values():
            status.close()


def _lead(nursery: Nursery, fds: list[int], wakeup: Wakeup) -> NoReturn:
    """In a child: be the first zygote of a pool."""
    with ending():
        channel, lifeline, boot, told = fds
        os.setsid()
        nursery.leave(wakeup)
        os.close(boot)
        os.close(told)
        lead(Channel(socket.socket(fileno=channel)), lifeline)
    raise AssertionError("unreachable")


def main(arguments: list[str]) -> None:
    """Entry point of ``python -m enqueued.pool.nursery CHANNEL LIFELINE``; the descriptors are inherited."""
    channel, lifeline = map(int, arguments)
    for fd in (channel, lifeline):
        os.set_inheritable(fd, False)
    hang_on(lifeline)
    adopt_orphans()
    name_process("enq-nursery")
    Nursery(Channel(socket.socket(fileno=channel)), lifeline).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
