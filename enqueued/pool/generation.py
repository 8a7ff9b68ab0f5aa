"""A zygote and the workers that were forked from it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

from enqueued.pool.channel import Channel, Message
from enqueued.pool.handle import WorkerHandle
from enqueued.pool.page import Page
from enqueued.source.image import hold_blas_to_one_thread


class Generation:
    """The image of one epoch (or of all epochs, for a source without `on_epoch_end`) and its crew."""

    def __init__(self, epoch: int, channel: Channel) -> None:
        self.epoch = epoch
        self.channel = channel
        self.ready = False
        self.alive = True
        self.length = 0
        self.crew: dict[int, WorkerHandle] = {}
        """Workers by number."""

    @property
    def unused(self) -> bool:
        """Whether nothing is being made from this image."""
        return not any(worker.outstanding for worker in self.crew.values())

    def fork(self, number: int, seat: int, lanes: int, workers: int, *, threads: bool) -> WorkerHandle:
        """Have a worker made; it says itself when it is up."""
        channel, theirs = Channel.pair()
        page, page_fd = Page.create(lanes)
        order = {"number": number, "seat": seat, "lanes": lanes, "workers": workers, "threads": threads}
        try:
            with theirs, contextlib.suppress(OSError):  # a dead zygote is noticed by its end of file
                self.channel.send({"fork": order}, (theirs.fileno(), page_fd))
        finally:
            os.close(page_fd)
        worker = self.crew[number] = WorkerHandle(number, seat, lanes, channel, page)
        return worker

    def next(self) -> Generation:
        """Have the zygote of the following epoch forked from this one."""
        channel, theirs = Channel.pair()
        with theirs, contextlib.suppress(OSError):
            self.channel.send({"next": self.epoch + 1}, (theirs.fileno(),))
        return Generation(self.epoch + 1, channel)

    def quit(self) -> None:
        """Have the zygote and its workers end; workers finish the batch that they are making."""
        self.alive = False
        for worker in self.crew.values():
            worker.quit()
        with contextlib.suppress(OSError):
            self.channel.try_send({"quit": 1})


class Root:
    """The process of the first zygote, which leads the process group of the whole pool."""

    def __init__(self, boot: Message) -> None:
        channel, theirs = Channel.pair()
        read, write = os.pipe2(os.O_CLOEXEC)
        self._lifeline: int | None = write
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "enqueued.pool.zygote", str(theirs.fileno()), str(read)],
                pass_fds=(theirs.fileno(), read),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                env={**os.environ, **hold_blas_to_one_thread(os.environ)},
            )
        os.close(read)
        self.generation = Generation(0, channel)
        channel.send({"boot": boot})

    def end(self, within_s: float) -> str:
        """Wait for the zygote to end, then kill what is left of the pool; how the zygote ended."""
        try:
            code: int | None = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            code = None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        code = self.process.wait() if code is None else code
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        return death(code if code >= 0 else -code, signalled=code < 0)


def death(code: int, *, signalled: bool) -> str:
    """How a process ended, in words."""
    if not signalled:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(code).name}"
    except ValueError:
        return f"was killed by signal {code}"


def death_of(status: int) -> str:
    """How a process ended, from its wait status."""
    if os.WIFSIGNALED(status):
        return death(os.WTERMSIG(status), signalled=True)
    return death(os.WEXITSTATUS(status), signalled=False)
