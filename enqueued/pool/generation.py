"""A zygote and the workers that were forked from it."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from typing import Protocol

import msgpack

from enqueued.pool.channel import Channel, Message
from enqueued.pool.deaths import death
from enqueued.pool.handle import WorkerHandle
from enqueued.pool.interpreter import Interpreter
from enqueued.pool.page import Page

_numbers = itertools.count()  # of generations: an epoch's may be made several times


class Generation:
    """The image of one epoch (or of all epochs, for a source without `on_epoch_end`) and its crew."""

    def __init__(self, epoch: int, channel: Channel, parent: Generation | None = None) -> None:
        self.epoch = epoch
        self.parent = parent
        """The one that it is forked from, which says how it ended."""
        self.number = next(_numbers)
        self.channel = channel
        self.pid = 0
        """The zygote's process, as soon as it is known."""
        self.ready = False
        """Whether the user's code has run and it can fork workers."""
        self.proof: int | None = None
        """The epoch whose canary has yet to show that this image gives what the one before it gave."""
        self.alive = True
        self.killed = False
        """Whether it was ended because it took too long, or was not wanted any more."""
        self.silent = False
        """Whether it ended before it was ready, and nobody has said how."""
        self.gone = False
        """Whether its end is known."""
        self.length = 0
        self.briefing: tuple[Message, tuple[int, ...]] = ({}, ())
        """What every worker is told first, and the descriptors that go with it, which stay whose they are."""
        self.unwanted_since: float | None = None
        """Since when no group is near its epoch."""
        self._began = time.monotonic()
        self.crew: dict[int, WorkerHandle] = {}
        """Workers by number."""

    @property
    def usable(self) -> bool:
        """Whether batches may be made from this image, and others be forked from it."""
        return self.ready and self.proof is None

    @property
    def unused(self) -> bool:
        """Whether nothing is being made from this image."""
        return not any(worker.owing for worker in self.crew.values())

    def fork(
        self, number: int, seat: int, lanes: int, workers: int, unsent: dict[WorkerHandle, None], *, threads: bool
    ) -> WorkerHandle:
        """Have a worker made; it says itself when it is up."""
        channel, theirs = Channel.pair()
        page, page_fd = Page.create(lanes)
        order = {"number": number, "seat": seat, "lanes": lanes, "workers": workers, "threads": threads}
        try:
            with theirs, contextlib.suppress(OSError):  # a dead zygote is noticed by its end of file
                self.channel.send({"fork": order}, (theirs.fileno(), page_fd))
        finally:
            os.close(page_fd)
        worker = self.crew[number] = WorkerHandle(number, seat, lanes, channel, page, unsent)
        self._brief(worker)
        return worker

    def brief(self, message: Message, fds: tuple[int, ...]) -> None:
        """Tell every worker something before its next order, also those that are made from now on."""
        self.briefing = message, fds
        for worker in self.crew.values():
            worker.flush()
            self._brief(worker)

    def _brief(self, worker: WorkerHandle) -> None:
        message, fds = self.briefing
        if message:
            with contextlib.suppress(OSError):  # as above
                worker.channel.send(message, fds)

    def step_to(self, epoch: int) -> Generation:
        """Have the zygote of a later epoch forked from this one; it calls `on_epoch_end` once for each in between."""
        channel, theirs = Channel.pair()
        following = Generation(epoch, channel, self)
        with theirs, contextlib.suppress(OSError):
            self.channel.send({"next": [epoch, following.number, epoch - self.epoch]}, (theirs.fileno(),))
        return following

    def progressed(self) -> None:
        """It has taken a step on a long way: its time begins anew."""
        self._began = time.monotonic()

    def end_if_slow(self, limit_s: float, now: float) -> bool:
        """Kill a zygote that is not ready after so long: user code hangs between epochs; whether it was."""
        if self.ready or not self.pid or now - self._began < limit_s:
            return False
        self.kill()
        return True

    def kill(self) -> None:
        """End a zygote that runs user code."""
        self.killed = True
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.pid = 0

    def quit(self) -> None:
        """Have the zygote and its workers end; workers finish the batch that they are making."""
        self.alive = False
        for worker in self.crew.values():
            worker.quit()
            worker.flush()
        with contextlib.suppress(OSError):
            self.channel.try_send({"quit": 1})


class Root(Protocol):
    """The process of the first zygote, which leads the process group of the whole pool."""

    generation: Generation

    def end(self, within_s: float) -> str:
        """Wait for the zygote to end, then kill what is left of the pool; how the zygote ended."""


class BootedRoot(Interpreter):
    """A first zygote in an interpreter of its own."""

    def __init__(self, boot: Message) -> None:
        super().__init__("enqueued.pool.zygote", stdout=sys.stderr.fileno())
        self.generation = Generation(0, self.channel)
        send_boot(self.channel, boot)

    def end(self, within_s: float) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(within_s)
        code = self.kill()
        self.cut()
        return death(abs(code), signalled=code < 0)


def send_boot(channel: Channel, boot: Message, *fds: int) -> None:
    """Tell a first zygote what to load; `boot` goes by a memory file, for a source's arguments may be long."""
    with open(os.memfd_create("enqueued-boot", os.MFD_CLOEXEC), "w+b", 0) as file:
        file.write(msgpack.packb(boot))
        file.seek(0)
        channel.send({"boot": 1}, (file.fileno(), *fds))
