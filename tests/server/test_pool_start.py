"""How workers come to be: forked or spawned, prepared once each, sharing what the constructor read."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from serving import Serving
from waiting import until

COUNTING = ("--sequence", "sources.counting:Counting")


def workers(daemon: Serving) -> list[int]:
    """The pids of the workers that are up."""
    return [worker["pid"] for worker in daemon.stream_stats()["workers"] if worker["pid"]]


def kill(pid: int) -> None:
    """Kill a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_files_left_open_are_named(tmp_path: Path) -> None:
    """A file that the constructor leaves open is a trap for forked readers: the log names it and the way out."""
    path = tmp_path / "rows.txt"
    path.write_text("abc")
    with Serving("--sequence", "sources.opening:Rows", "--arg", f"path={path}") as daemon:
        daemon.ready()
        assert re.search(rf"WARNING .*left {path} open.*--worker-init", daemon.log)
    with Serving(*COUNTING) as daemon:
        daemon.ready()
        assert "open" not in daemon.log


@pytest.mark.parametrize("flags", [(), ("--worker-init", "sources.pooled:init"), ("--start-method", "spawn")])
def test_worker_init_runs_once_in_every_worker(flags: tuple[str, ...], tmp_path: Path) -> None:
    """The source's own, or the one that is named; in a replacement too."""
    notes = tmp_path / "notes"
    command = ("--sequence", "sources.pooled:Initialized", "--arg", f"path={notes}", "--workers", "3", *flags)
    with Serving(*command) as daemon, daemon.client() as client:
        until(lambda: notes.exists() and len(notes.read_text().splitlines()) == 3, 20, "three calls")
        kill(workers(daemon)[0])
        until(lambda: len(notes.read_text().splitlines()) == 4, 20, "four calls")
        lines = [line.split() for line in notes.read_text().splitlines()]
        assert sorted({line[0] for line in lines}) == ["0", "1", "2"]
        assert len({line[1] for line in lines}) == 4
        batches = list(client)
        base = 100 if "sources.pooled:init" in flags else 0
        assert {int(batch[1]) - base for batch in batches} <= {0, 1, 2}
        assert [int(batch[0]) for batch in batches] == list(range(20))


def test_spawned_workers_give_the_same_epochs() -> None:
    """The state travels by pickle: the same batches, and a death costs as little."""
    found = []
    for method in ("zygote", "spawn"):
        flags = ("--sequence", "sources.pooled:Augmented", "--workers", "2", "--start-method", method)
        with Serving(*flags) as daemon, daemon.client() as client:
            batches = [batch["x"].tobytes() for batch in client]
            kill(workers(daemon)[0])
            batches += [batch["x"].tobytes() for batch in client]
            found.append(batches)
            until(lambda: daemon.stream_stats()["worker_restarts"] == 1, 20)
    assert found[0] == found[1]


def test_an_epoch_hook_works_with_spawned_workers(tmp_path: Path) -> None:
    """Each epoch's zygote is still one process, and what it shuffled reaches its workers."""
    notes = tmp_path / "notes"
    flags = ("--sequence", "sources.pooled:SelfShuffling", "--arg", f"path={notes}", "--start-method", "spawn")
    with Serving(*flags, "--workers", "2") as daemon, daemon.client() as client:
        for number in range(3):
            batches = list(client)
            assert sorted(int(batch[0]) for batch in batches) == list(range(30))
            assert {int(batch[1]) for batch in batches} == {number}


def test_an_unpicklable_attribute_is_named() -> None:
    """Where workers are spawned, what cannot travel is said at the start, with exit code 3."""
    flags = ("--sequence", "sources.pooled:Locked", "--start-method", "spawn")
    with Serving(*flags, expect=3) as daemon:
        assert daemon.wait() == 3
        last = daemon.log.splitlines()[-1]
        assert "its attribute 'guard' (lock) cannot be" in last
        assert "serving" not in daemon.log


def test_auto_spawns_where_a_thread_is_left_running() -> None:
    """A process with threads must not be forked; the log says why the workers are spawned."""
    with Serving("--sequence", "sources.pooled:Threaded", "--workers", "2") as daemon, daemon.client() as client:
        batches = list(client)
        assert [int(batch[0]) for batch in batches] == list(range(20))
        assert "workers are spawned, not forked: threads are running in it: watcher" in daemon.log


def test_a_source_with_a_thread_may_have_an_epoch_hook() -> None:
    """A thread that holds a lock in the zygote does not stop `on_epoch_end` in the next one."""
    flags = ("--sequence", "sources.pooled:ThreadedShuffling", "--workers", "2")
    with Serving(*flags) as daemon, daemon.client() as client:
        for number in range(3):
            batches = list(client)
            assert sorted(int(batch[0]) for batch in batches) == list(range(30))
            assert {int(batch[1]) for batch in batches} == {number}


def test_forked_workers_share_what_the_constructor_read() -> None:
    """300 MB in the zygote cost four workers next to nothing of their own, also when they have read it all."""
    with Serving("--sequence", "sources.pooled:Large", "--workers", "4") as daemon, daemon.client() as client:
        batches = list(client)
        assert len({int(batch[2]) for batch in batches}) >= 2
        assert {int(batch[0]) for batch in batches} == {300 << 17}
        private = [rollup(pid, "Private_Dirty:") + rollup(pid, "Private_Clean:") for pid in workers(daemon)]
        assert len(private) == 4
        assert max(private) < 40_000, private
        everyone = sum(rollup(pid, "Pss:") for pid in daemon.processes())
        assert everyone < 450_000, everyone


def rollup(pid: int, field: str) -> int:
    """A number of kilobytes that the kernel tells about a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    return 0
