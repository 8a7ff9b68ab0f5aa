"""What a process needs that forks: a wait that the end of a child cuts short, who has ended, and how a child ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator

from enqueued.pool.channel import Channel


class Wakeup:
    """Waits for messages of one channel, and is woken when a child ends."""

    def __init__(self, channel: Channel) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._poller = select.poll()
        self._poller.register(channel, select.POLLIN)
        self._poller.register(self._read, select.POLLIN)

    def wait(self) -> bool:
        """Wait for a message or the end of a child; whether there is a message, or the channel's end."""
        ready = {fd for fd, _ in self._poller.poll()}
        if self._read in ready:
            os.read(self._read, 512)
        return ready != {self._read}

    def let_go(self) -> None:
        """In a forked child: give up what is the parent's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._read)
        os.close(self._write)


def ended() -> Iterator[tuple[int, int]]:
    """The children that have ended since the last call: each one's pid and status."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found


def flush_output() -> None:
    """Write out what was printed, where there is anything to print to."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """End this process after the block, however that went, without the interpreter's exit, which is the parent's."""
    code = 1
    try:
        yield
        code = 0
    except (BrokenPipeError, ConnectionResetError):  # whoever began the pool has let go of it
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
