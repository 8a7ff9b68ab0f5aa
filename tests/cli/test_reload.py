"""``enqueued reload`` and SIGHUP: a living daemon takes new code, or goes on with the old."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gate import Gate
from serving import SUPPORT, Serving, run
from waiting import until

SOURCE = """
import numpy as np

class Versioned:
    def __len__(self):
        return 3
    def __getitem__(self, index):
        return np.array([{version}, index])
"""


class Project:
    """A module that can be written again, and the flags that serve it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.flags = ("--sequence", "versioned:Versioned", "--app-dir", str(folder), "--workers", "1")
        self.write(1)

    def write(self, version: int, more: str = "") -> None:
        """Write the source, so that its batches begin with `version`."""
        # Python uses a compiled file again when size and second are the same
        text = SOURCE.format(version=version) + f"# {'x' * version}\n" + more
        (self.folder / "new").write_text(text)
        (self.folder / "new").replace(self.folder / "versioned.py")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A module in a folder."""
    return Project(tmp_path)


def versions(daemon: Serving) -> set[int]:
    """What a new client is given in an epoch that it begins at its start."""
    with daemon.client() as client:
        return {int(batch[0]) for batch in client}


def test_new_code_is_taken_from_the_next_epoch_on(project: Project) -> None:
    """The epoch that was begun is finished as it was; the command says which file, and from when."""
    with Serving(*project.flags) as daemon, daemon.client() as client:
        epoch = iter(client)
        next(epoch)
        project.write(2)
        result = run("reload", "--endpoint", daemon.endpoint)
        assert (result.returncode, result.stderr) == (0, "")
        lines = result.stdout.splitlines()
        assert lines[0] == "default: loading versioned.py again"
        assert lines[1].startswith("default: ")
        assert "from epoch " in lines[1]
        assert {int(batch[0]) for batch in epoch} == {1}
        until(lambda: {int(batch[0]) for batch in client} == {2}, within=10)


def test_new_code_is_taken_at_once(project: Project) -> None:
    """With --now what is delivered next comes from it, but for what was under way."""
    with Serving(*project.flags) as daemon:
        assert versions(daemon) == {1}
        project.write(2)
        result = run("reload", "--now", "--endpoint", daemon.endpoint)
        assert result.returncode == 0, result.stderr
        assert "at once" in result.stdout
        assert versions(daemon) == {2}


def test_code_that_cannot_be_loaded_leaves_the_old(project: Project) -> None:
    """Exit code 3 and why; once it is repaired, it is taken."""
    with Serving(*project.flags) as daemon:
        assert versions(daemon) == {1}
        project.write(2, "raise ValueError('half written')\n")
        result = run("reload", "--endpoint", daemon.endpoint)
        assert result.returncode == 3
        assert "ValueError: half written" in result.stderr
        assert "the old code goes on" in result.stderr.splitlines()[-1]
        assert 'versioned.py", line' in daemon.log
        assert versions(daemon) == {1}
        project.write(3)
        assert run("reload", "--now", "--endpoint", daemon.endpoint).returncode == 0
        assert versions(daemon) == {3}


def test_a_source_that_loads_for_too_long_is_told(project: Project) -> None:
    """The command gives up, the daemon does not; another reload meanwhile is refused."""
    with Serving(*project.flags) as daemon, Gate(project.folder / "gate") as gate:
        daemon.ready()
        project.write(2, f"import gate, pathlib\ngate.enter(pathlib.Path({str(gate.path)!r}))\n")
        result = run("reload", "--timeout", "0.5", "--endpoint", daemon.endpoint)
        assert result.returncode == 1
        assert "default: not loaded within 0.5 s" in result.stderr
        again = run("reload", "--endpoint", daemon.endpoint)
        assert again.returncode == 1
        assert "is being loaded again already" in again.stderr
        gate.open()
        until(lambda: versions(daemon) == {2}, within=10)


def test_a_streamed_source_is_not_loaded_again() -> None:
    """It only goes forward: one line says so, and exit code 1."""
    with Serving("--generator", "sources.counting:count_up") as daemon:
        daemon.ready()
        result = run("reload", "--endpoint", daemon.endpoint)
        assert result.returncode == 1
        assert result.stderr.startswith("enqueued: default is not loaded again: it is streamed")


def test_streams_that_can_be_are_loaded_again(project: Project, tmp_path: Path) -> None:
    """All that can, unless one is named; of the others it is said why not."""
    config = tmp_path / "two.toml"
    config.write_text(
        f'[stream.train]\nsequence = "versioned:Versioned"\napp_dir = "{project.folder}"\nworkers = 1\n'
        '[stream.val]\ngenerator = "itertools:count"\n'
    )
    with Serving("--config", str(config)) as daemon:
        daemon.ready()
        result = run("reload", "--endpoint", daemon.endpoint)
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[:2] == [
            "train: loading versioned.py again",
            "val: not loaded again: it is streamed, and only goes forward; restart the daemon",
        ]
        assert run("reload", "--stream", "val", "--endpoint", daemon.endpoint).returncode == 1
        result = run("reload", "--stream", "train", "--endpoint", daemon.endpoint)
        assert result.returncode == 0
        assert "val" not in result.stdout


def test_no_daemon_is_a_failure(tmp_path: Path) -> None:
    """With what was tried."""
    result = run("reload", "--endpoint", f"ipc://{tmp_path}/x.sock")
    assert result.returncode == 1
    assert "there is no socket" in result.stderr


def test_a_hangup_has_the_code_loaded_again(project: Project) -> None:
    """Broken code leaves the old one; the daemon goes on and says in its log what it did."""
    with Serving(*project.flags) as daemon:
        assert versions(daemon) == {1}
        project.write(2, "raise ValueError('half written')\n")
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: "half written" in daemon.log, within=10)
        assert versions(daemon) == {1}
        project.write(3)
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: versions(daemon) == {3}, within=10)


@contextmanager
def started(
    folder: Path, project: Project, *before: str, stdin: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that serves, with these words before its command."""
    command = [sys.executable, "-m", "enqueued_cli", "serve", "--endpoint", f"ipc://{folder}/d.sock", *project.flags]
    log = folder / "log"
    with log.open("wb") as written:
        daemon = subprocess.Popen(
            [*before, *command],
            stdin=stdin,
            stdout=written,
            stderr=written,
            env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        )
    try:
        until(lambda: "serving" in log.read_text() or daemon.poll() is not None, within=20)
        yield daemon
        assert daemon.wait(20) == 0, log.read_text()
        assert not (folder / "d.sock").exists()
    finally:
        daemon.kill()
        daemon.wait()


def test_a_daemon_whose_terminal_is_closed_stops(project: Project, tmp_path: Path) -> None:
    """It gets SIGHUP, too; nobody would find it again, so it drains and leaves nothing."""
    ours, theirs = os.openpty()
    with started(tmp_path, project, "setsid", "--ctty", stdin=theirs):
        os.close(theirs)
        os.close(ours)


def test_a_daemon_that_was_told_to_ignore_hangups_does(project: Project, tmp_path: Path) -> None:
    """As with nohup: the kernel keeps the signal from it."""
    with started(tmp_path, project, "nohup", stdin=subprocess.DEVNULL) as daemon:
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:"))
        assert int(ignored, 16) & 1 << signal.SIGHUP - 1
        daemon.send_signal(signal.SIGTERM)
