"""Fresh interpreters that this process begins, and that end with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import IO

from enqueued.pool.channel import Channel
from enqueued.source.image import hold_blas_to_one_thread

_COPIES = {"GLIBC_TUNABLES": "glibc.cpu.x86_non_temporal_threshold=0x100000"}
"""Copies of a mebibyte or more go past the caches, where glibc by itself fills them with what another process reads."""


class Interpreter:
    """A process that runs a module, which is given two descriptors: its end of `channel`, and its lifeline.

    It leads a session of its own, so that Ctrl-C is for this process, which ends that one.
    """

    def __init__(
        self,
        module: str,
        *,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.channel, theirs = Channel.pair()
        read, write = os.pipe2(os.O_CLOEXEC)
        self._lifeline: int | None = write
        # in a program without standard streams these may have their numbers
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (theirs.fileno(), read)]
        theirs.close()
        os.close(read)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *map(str, fds)],
                pass_fds=fds,
                start_new_session=True,
                stdin=stdin,
                stdout=subprocess.DEVNULL if stdout is None and sys.stdout is None else stdout,
                stderr=subprocess.DEVNULL if sys.stderr is None else None,
                env={**_COPIES, **os.environ, **hold_blas_to_one_thread(os.environ), **(environ or {})},
            )
        finally:
            for fd in fds:
                os.close(fd)

    def cut(self) -> None:
        """Let go of the lifeline, with which the kernel kills what hangs on it; again is harmless."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def kill(self) -> int:
        """Kill all that is left of its process group; its exit code, negative for a signal."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()
