"""The state file when the process is killed, or the disk fails, in the middle of a write."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import state_offers
from enqueued.server.state import StateFile
from state_offers import state

SUPPORT = Path(state_offers.__file__).parent
LARGE = 1 << 19
SMALL = 16


def offers(path: Path, count: int, size: int) -> list[str]:
    """The command that offers states to a file."""
    return [sys.executable, "-B", str(SUPPORT / "state_offers.py"), str(path), str(count), str(size)]


def stored(path: Path, size: int) -> int:
    """The number of the stored state, whole, with nothing left beside it; 0 when there is none."""
    file = StateFile(str(path))
    try:
        plain = file.load()
    finally:
        file.close()
    assert set(os.listdir(path.parent)) <= {path.name}
    if not plain:
        return 0
    assert plain == state(plain["number"], size)
    return int(plain["number"])


def numbers(said: str, what: str) -> list[int]:
    """The numbers of all that a process said of this kind; a line that it could not end does not count."""
    lines = said.splitlines(keepends=True)
    return [int(line.split()[1]) for line in lines if line.startswith(what + " ") and line.endswith("\n")]


def test_a_kill_at_any_moment_leaves_a_whole_state(tmp_path: Path) -> None:
    """After each SIGKILL the file holds one of the offered states, and none before the last that was called durable."""
    chance, path, least = random.Random(7), tmp_path / "x.state", 0
    for _ in range(25):
        process = subprocess.Popen(offers(path, 10**6, LARGE), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(chance.randint(1, 6)))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0, 0.02))
        process.kill()
        said += process.communicate()[0]
        least = max([least, *numbers(said, "durable")])
        assert least <= stored(path, LARGE) <= max(numbers(said, "offered"))
        assert not numbers(said, "failed")
        least = stored(path, LARGE)
    assert least


def unable() -> str:
    """Why faults cannot be injected here, or nothing."""
    if shutil.which("strace") is None:
        return "strace is missing"
    probe = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"], capture_output=True, text=True
    )
    return f"strace cannot trace: {probe.stderr.strip()}" if probe.returncode else ""


WHY_NOT = unable()
needs_strace = pytest.mark.skipif(bool(WHY_NOT), reason=f"FAILING DISKS ARE NOT TRIED HERE: {WHY_NOT}")

# a state is one write, two calls of fsync (the file's, then the folder's) and between these one rename
RENAME = "?rename,?renameat,?renameat2"
DISK_FULL = "write:error=ENOSPC"
FILE_LOST = "fsync:error=EIO"
NAME_LOST = f"{RENAME}:error=EIO"


def tried(path: Path, fault: str, count: int) -> tuple[str, int]:
    """What a process said whose system calls meet this fault, and its exit status."""
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "signal=none", "-e", f"inject={fault}"]
    done = subprocess.run([*command, *offers(path, count, SMALL)], stdout=subprocess.PIPE, text=True, timeout=50)
    return done.stdout, done.returncode


@needs_strace
@pytest.mark.parametrize(
    ("fault", "left"),
    [(f"{DISK_FULL}:when=2", 1), (f"{FILE_LOST}:when=3", 1), (f"{FILE_LOST}:when=4", 2), (f"{NAME_LOST}:when=2", 1)],
    ids=["disk full", "file lost", "folder lost", "name lost"],
)
def test_a_write_that_fails_is_not_called_durable(tmp_path: Path, fault: str, left: int) -> None:
    """The last of two writes fails at each step: the state is whole, and what was not synced is not said to be."""
    path = tmp_path / "x.state"
    said, status = tried(path, fault, count=2)
    assert (numbers(said, "durable"), numbers(said, "failed"), status) == ([1], [2], 0)
    assert os.listdir(tmp_path) == ["x.state"]
    assert stored(path, SMALL) == left


@needs_strace
@pytest.mark.parametrize(
    ("fault", "failed"),
    [
        (f"{DISK_FULL}:when=1..3", [1, 2, 3]),
        (f"{FILE_LOST}:when=1", [1]),
        (f"{FILE_LOST}:when=4..6", [2, 3, 4]),
        (f"{NAME_LOST}:when=3", [3]),
    ],
    ids=["disk full", "file lost", "file and folder lost", "name lost"],
)
def test_what_failed_is_tried_again_and_told_once(tmp_path: Path, fault: str, failed: list[int]) -> None:
    """The next offers are written as soon as they can be, and one cause makes one line in the log."""
    path = tmp_path / "x.state"
    said, status = tried(path, fault, count=5)
    assert (numbers(said, "failed"), numbers(said, "logged"), status) == (failed, [1], 0)
    assert numbers(said, "durable") == [number for number in range(1, 6) if number not in failed]
    assert stored(path, SMALL) == 5


@needs_strace
def test_a_folder_that_cannot_be_synced_at_all_is_no_failure(tmp_path: Path) -> None:
    """Some network file systems have no fsync for folders, and states are kept there as well as can be."""
    said, status = tried(tmp_path / "x.state", "fsync:error=EINVAL:when=2+2", count=2)
    assert (numbers(said, "durable"), status) == ([1, 2], 0)


@needs_strace
@pytest.mark.parametrize("call", ["write", "fsync", RENAME], ids=["write", "fsync", "rename"])
def test_a_kill_before_any_step_leaves_a_whole_state(tmp_path: Path, call: str) -> None:
    """A SIGKILL at each system call of two writes: nothing that was called durable is lost, and nothing lies about."""
    for when in range(1, 5 if call == "fsync" else 3):
        path = tmp_path / str(when) / "x.state"
        path.parent.mkdir()
        said, status = tried(path, f"{call}:signal=SIGKILL:when={when}", count=2)
        assert status == -9
        assert max(numbers(said, "durable"), default=0) <= stored(path, SMALL) <= max(numbers(said, "offered"))


@needs_strace
def test_a_disk_that_does_not_answer_holds_nobody_up(tmp_path: Path) -> None:
    """While a write hangs, an offer is not taken, there is no news, and the process can end."""
    script = (
        "import atexit\n"
        "from enqueued.server.state import StateFile\n"
        "atexit.register(print, 'ended', flush=True)\n"
        f"file = StateFile({str(tmp_path / 'x.state')!r})\n"
        "print(file.offer({}, 0.0, tag=1), file.offer({}, 9.0, tag=2), file.written(), flush=True)\n"
        "file.close({})\n"
        "print('closed', flush=True)\n"
    )
    delay = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:delay_enter=60s"]
    process = subprocess.Popen(
        [*delay, sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "True False None\n"
        assert process.stdout.readline() == "closed\n"
        assert process.stdout.readline() == "ended\n"
        assert not (tmp_path / "x.state").exists()
    finally:
        os.killpg(process.pid, 9)
        _, complaint = process.communicate()
    assert "is not written after 2 s" in complaint
