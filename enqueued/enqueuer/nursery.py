"""The calling program's side of the nursery, and the roots of pools that are made there or here."""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
import time
import weakref
from typing import Any, NoReturn

from enqueued.pool.channel import Channel, Message
from enqueued.pool.children import ending, flush_output
from enqueued.pool.deaths import death_of
from enqueued.pool.generation import Generation, send_boot
from enqueued.pool.interpreter import Interpreter
from enqueued.pool.zygote import lead

_LAST_S = 5.0
"""How long the kernel may take to end what was killed."""
_REAPED_S = 0.05
"""How long whoever waits for orphans may take to do so, who may be slow, or nobody."""
_LOOK_S = 0.001

_lock = threading.RLock()
_nursery: Nursery | None = None
_held: weakref.WeakSet[Any] = weakref.WeakSet()
"""What has to be let go of in a forked child of this program, lest it keeps pools alive that are the program's."""


class Nursery(Interpreter):
    """The nursery's process; it ends with this program, whichever way that ends."""

    def __init__(self) -> None:
        super().__init__("enqueued.pool.nursery")
        _held.add(self)

    def plant(self, *fds: int) -> None:
        """Have a pool made. Raises `OSError` when the process has ended."""
        self.channel.send({"plant": 1}, fds)

    def end(self) -> None:
        """End it; the pools that were made there go on."""
        self.let_go()
        self.process.kill()
        self.process.wait()

    def let_go(self) -> None:
        """Close what is held of it."""
        self.channel.close()
        self.cut()


def nursery() -> Nursery:
    """The one of this program, begun when there is none, or when it was killed."""
    global _nursery
    with _lock:
        if _nursery is not None and _nursery.process.poll() is not None:
            _nursery.let_go()
            _nursery = None
        if _nursery is None:
            _nursery = Nursery()
        return _nursery


def close() -> None:
    """End the nursery, if there is one; the next pool begins a new one."""
    global _nursery
    with _lock:
        if _nursery is not None:
            _nursery.end()
            _nursery = None


class _Root:
    """The first zygote of a pool, which leads a process group of its own."""

    def __init__(self, boot: Message, *files: int) -> None:
        channel, self._theirs = Channel.pair()
        read, write = os.pipe2(os.O_CLOEXEC)
        self._lifeline: int | None = write
        self.generation = Generation(0, channel)
        self.pid = 0
        """0 until it is known."""
        _held.add(self)
        try:
            self._begin(self._theirs.fileno(), read, boot)
            send_boot(channel, boot, *files)
        finally:
            os.close(read)
            self._theirs.close()

    def _begin(self, channel: int, lifeline: int, boot: Message) -> None:
        raise NotImplementedError

    def _wait(self, within_s: float) -> int | None:
        """The status with which it ended, if it has after so long."""
        raise NotImplementedError

    def end(self, within_s: float) -> str:
        """Wait for the zygote to end, then kill what is left of the pool; how the zygote ended."""
        status = self._wait(within_s)
        self._cut()
        began = time.monotonic()
        if status is None:
            status = self._wait(_LAST_S)
        while self.pid and self._kill():
            waited_s = time.monotonic() - began
            if waited_s > _LAST_S or (waited_s > _REAPED_S and not _is_alive(self.pid)):
                break
            time.sleep(_LOOK_S)
        self._hang_up()
        return "ended" if status is None else death_of(status)

    def _kill(self) -> bool:
        """Kill its process group; whether anything is left of it."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
            while os.waitpid(-self.pid, os.WNOHANG)[0]:  # orphans come to this process where it is the first one
                pass
        except (ProcessLookupError, PermissionError):
            return False
        except ChildProcessError:  # what is left is another's to wait for
            pass
        return True

    def _cut(self) -> None:
        """Let go of the lifeline, with which the kernel kills the group."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def _hang_up(self) -> None:
        """Close what tells how it fares."""

    def let_go(self) -> None:
        """In a forked child of this program: close what is held of it."""
        self._cut()
        self._hang_up()
        self.generation.channel.close()


def _is_alive(group: int) -> bool:
    """Whether a process of this group is there that has not ended."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
            state, _, its_group = file.read().rpartition(b")")[2].split()[:3]
            if int(its_group) == group and state not in b"ZX":
                return True
    return False


class PlantedRoot(_Root):
    """One that is forked from the nursery."""

    def _begin(self, channel: int, lifeline: int, boot: Message) -> None:
        self._status, theirs = Channel.pair()
        fd = os.memfd_create("enqueued-program", os.MFD_CLOEXEC)
        import msgpack

        with theirs, open(fd, "w+b", 0) as file:
            file.write(msgpack.packb(boot))
            for _ in range(2):
                found = nursery()
                try:
                    found.plant(channel, lifeline, fd, theirs.fileno())
                    return
                except OSError:  # it was killed meanwhile
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        found.process.wait(_LAST_S)
        raise OSError("the nursery of this program was killed as often as it was begun")

    def _wait(self, within_s: float) -> int | None:
        if self._status.fileno() < 0:
            return None  # it was ended before
        deadline = time.monotonic() + within_s
        while select.select([self._status], [], [], max(0.0, deadline - time.monotonic()))[0]:
            message = self._status.receive(wait=True)
            if message is None:
                return None
            if "exited" in message:
                exited: int = message["exited"]
                return exited
            self.pid = message["planted"]
        return None

    def _hang_up(self) -> None:
        self._status.close()


class ForkedRoot(_Root):
    """One that is forked from this very process, whose image has what cannot be pickled."""

    def __init__(self, boot: Message, user: Any) -> None:
        self._user = user
        self._status: int | None = None
        super().__init__(boot)

    def _begin(self, channel: int, lifeline: int, boot: Message) -> None:
        mine = os.dup(channel), os.dup(lifeline)  # what is held here is let go of in the child
        flush_output()
        self.pid = os.fork()
        if self.pid == 0:
            _lead(mine, self._user)
        for fd in mine:
            os.close(fd)
        self._user = None

    def _wait(self, within_s: float) -> int | None:
        deadline = time.monotonic() + within_s
        while self._status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # this program ignores SIGCHLD, so nobody knows how it ended
                break
            if pid:
                self._status = status
                continue
            if time.monotonic() >= deadline:
                break
            time.sleep(_LOOK_S)
        return self._status


def _lead(fds: tuple[int, int], user: Any) -> NoReturn:
    """In a child: be the first zygote of a pool."""
    with ending():
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        lead(Channel(socket.socket(fileno=fds[0])), fds[1], user)
    raise AssertionError("unreachable")


def _after_fork() -> None:
    """A forked child of this program has no part in its pools."""
    global _nursery, _lock
    _nursery, _lock = None, threading.RLock()
    for one in list(_held):
        one.let_go()
    _held.clear()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(close)
