"""A real daemon for a test, in a process of its own, and the proof that nothing is left of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from enqueued import Client
from enqueued.client.query import query
from waiting import until

SUPPORT = Path(__file__).parent
_MARK = "ENQUEUED_TEST_MARK"


class Serving:
    """``enqueued serve FLAGS`` with the sources of tests/support importable.

    A context manager: on leaving, the daemon is told to drain, must exit with `expect`, and must leave no process and
    no file. `endpoint` is its ipc address, `log` what it has written so far.
    """

    def __init__(self, *flags: str, expect: int | None = 0, environ: dict[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="enq-"))
        self.endpoint = f"ipc://{self.folder}/d.sock"
        self._flags = flags
        self._expect = expect
        self._mark = uuid.uuid4().hex
        self._environ = {**os.environ, "PYTHONPATH": str(SUPPORT), _MARK: self._mark, **(environ or {})}
        self._environ.pop("ENQUEUED_ENDPOINT", None)
        self._log = self.folder / "log"
        self._begun = 0
        """How long the log was when the daemon was started last."""
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the daemon, again after `kill`."""
        command = [sys.executable, "-m", "enqueued_cli", "serve", "--endpoint", self.endpoint, *self._flags]
        with self._log.open("ab") as log:
            self._begun = log.tell()
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self.process

    @property
    def log(self) -> str:
        """What the daemon and its workers wrote."""
        return self._log.read_text()

    def client(self, where: str | None = None, **arguments: Any) -> Client:
        """A client of this daemon."""
        arguments.setdefault("connect_timeout", 20.0)
        arguments.setdefault("batch_timeout", 20.0)
        return Client(where or self.endpoint, **arguments)

    def stats(self) -> dict[str, Any]:
        """The daemon's snapshot."""
        return query("stats", self.endpoint, 10.0)

    def stream_stats(self) -> dict[str, Any]:
        """The snapshot of the only stream."""
        stream: dict[str, Any] = self.stats()["streams"][0]
        return stream

    def ready(self, within: float = 30.0) -> Self:
        """Wait for the start-up line."""

        def told() -> bool:
            return b"serving" in self._log.read_bytes()[self._begun :] or self.process.poll() is not None

        until(told, within, "the daemon serves")
        assert self.process.poll() is None, self.log
        return self

    def wait(self, within: float = 20.0) -> int:
        """The exit code of a daemon that ends by itself."""
        return self.process.wait(within)

    def stop(self, number: int = signal.SIGTERM, within: float = 20.0) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(within)

    def kill(self) -> None:
        """End the daemon as a crash would."""
        self.process.kill()
        self.process.wait()

    def processes(self) -> list[int]:
        """Every living process of this daemon: itself, zygotes, workers and their children."""
        found = []
        needle = f"{_MARK}={self._mark}".encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                try:
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                    if state != "Z" and needle in (folder / "environ").read_bytes():
                        found.append(int(folder.name))
                except (OSError, IndexError):
                    continue
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            code = self.stop()
            if kind is None:
                assert self._expect is None or code == self._expect, f"exit code {code}\n{self.log}"
                until(lambda: not self.processes(), 5, "no process is left")
                left = {path.name for path in self.folder.iterdir()} - {"log", "d.sock.lock"}
                left = {name for name in left if name.startswith("d.sock")}
                assert not left, f"left behind: {left}"
            else:
                sys.stderr.write(self.log)
        finally:
            self.process.kill()
            self.process.wait()
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.folder, ignore_errors=True)


def run(*arguments: str, environ: dict[str, str] | None = None, cwd: Path | None = None, within: float = 30.0) -> Any:
    """``enqueued ARGUMENTS``, to its end: a `CompletedProcess` with text output."""
    return subprocess.run(
        [sys.executable, "-m", "enqueued_cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(SUPPORT), **(environ or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


def numbers(batches: Sequence[Any]) -> list[int]:
    """The first number of each batch: sources of these tests put the position there."""
    return [int(batch[0].flat[0]) if isinstance(batch, tuple) else int(batch.flat[0]) for batch in batches]


def parse(text: str) -> Any:
    """JSON."""
    return json.loads(text)
