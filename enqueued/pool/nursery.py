"""The nursery: a process of the calling program that imports its modules once, and from which its pools are forked.

It runs no user code but these imports. Each request comes with the descriptors of a new pool: its channel, its
lifeline, what it is to load, and a socket on which the nursery says how its first zygote fares.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import traceback

import msgpack
import numpy.random  # noqa: F401 - every pool needs it

from enqueued.pool.channel import Channel
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
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poller = select.poll()
        poller.register(self._channel, select.POLLIN)
        poller.register(read, select.POLLIN)
        while True:
            self._reap()
            for fd, _ in poller.poll():
                if fd == read:
                    os.read(read, 512)
                elif self._channel.receive(wait=True) is None:
                    return
                else:
                    self._plant(self._channel.take_fds(), (read, write))

    def _reap(self) -> None:
        """Wait for whoever has ended: pools, and what they leave behind, for it comes here as an orphan."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                status = self._children.pop(found[0], None)
                if status is not None:
                    with contextlib.suppress(OSError):
                        status.send({"exited": found[1]})
                    status.close()

    def _plant(self, fds: list[int], wakeup: tuple[int, int]) -> None:
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

    def leave(self, wakeup: tuple[int, int]) -> None:
        """In a child: give up what is the nursery's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (*wakeup, self._lifeline):
            os.close(fd)
        self._channel.close()
        for status in self._children.values():
            status.close()


def _lead(nursery: Nursery, fds: list[int], wakeup: tuple[int, int]) -> None:
    """In a child: be the first zygote of a pool. It does not return."""
    code = 1
    try:
        channel, lifeline, boot, told = fds
        os.setsid()
        nursery.leave(wakeup)
        os.close(boot)
        os.close(told)
        lead(Channel(socket.socket(fileno=channel)), lifeline)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


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
