"""The memory of batches: bounded whatever their sizes, and never a reason to stand still."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enqueued import Client
from enqueued.client.query import query
from serving import SUPPORT, Serving
from waiting import until

MB = 1 << 20


def sized(sizes: list[int], length: int) -> tuple[str, ...]:
    """Flags that serve batches of these sizes, in turn."""
    text = str(sizes).replace(" ", "")
    return ("--sequence", "sources.pooled:Sized", "--arg", f"sizes={text}", "--arg", f"length={length}")


def check(batch: Any, index: int, sizes: list[int]) -> None:
    """A batch is as the source made it."""
    assert len(batch) == sizes[index % len(sizes)]
    assert batch[0] == batch[-1] == index % 251
    assert not (batch != index % 251).any()


@pytest.mark.parametrize("pool", ["process", "thread"])
@pytest.mark.parametrize(
    "sizes",
    [
        [6 * MB],
        [3 * MB],
        [100_000, 300_000, 900_000, 2_700_000, 8 * MB],
        [8 * MB, 2_700_000, 900_000, 300_000, 100_000],
        [1000, 5 * MB, 70_000],
    ],
    ids=["large", "half", "growing", "shrinking", "mixed"],
)
def test_batches_of_any_size_pass_through_little_memory(sizes: list[int], pool: str) -> None:
    """A queue of 8 MB takes batches of nearly any size; the memory stays within the limit, a batch for each worker
    and what the client holds."""
    workers, limit = 3, 8 * MB
    flags = (*sized(sizes, 40), "--workers", str(workers), "--pool", pool, "--max-queue-bytes", str(limit))
    bound = limit + (workers + 4) * (max(sizes) * 9 // 8 + MB)
    with Serving(*flags) as daemon, daemon.client() as client:
        most = 0
        for _ in range(2):
            index = -1
            for index, batch in enumerate(client):
                check(batch, index, sizes)
                if index % 5 == 0:
                    most = max(most, daemon.stream_stats()["slot_bytes"])
            assert index == 39
        assert most <= bound
        assert "ERROR" not in daemon.log


def test_a_batch_larger_than_the_queue_comes_all_the_same() -> None:
    """One batch of 20 MB through a queue of 1 MB."""
    with Serving(*sized([20 * MB], 6), "--workers", "2", "--max-queue-bytes", "1mb") as daemon:
        with daemon.client() as client:
            for index, batch in enumerate(client):
                check(batch, index, [20 * MB])
        assert daemon.stream_stats()["made"] >= 6


def test_sizes_that_grow_from_epoch_to_epoch_do_not_stand_still() -> None:
    """The memory of small batches is given back for large ones, and the other way round."""
    sizes = [10_000] * 30 + [4 * MB] * 10
    with Serving(*sized(sizes, 40), "--workers", "2", "--max-queue-bytes", "6mb") as daemon:
        with daemon.client() as client:
            for _ in range(3):
                for index, batch in enumerate(client):
                    check(batch, index, sizes)
        assert daemon.stream_stats()["slot_bytes"] <= 6 * MB + 5 * 5 * MB


def test_a_client_that_keeps_everything_does_not_stop_the_queue() -> None:
    """What it holds past its share is copied out, so the slots stay few."""
    with Serving(*sized([2 * MB], 30), "--workers", "2", "--max-queue-bytes", "8mb") as daemon:
        with daemon.client() as client:
            kept = list(client)
            slots = daemon.stream_stats()["slot_bytes"]
        for index, batch in enumerate(kept):
            check(batch, index, [2 * MB])
        assert slots <= 8 * MB + 6 * 3 * MB


def test_a_far_client_and_a_near_one_share_little_memory() -> None:
    """Two clients far apart divide what there is, and both get on."""
    flags = (*sized([2 * MB], 60), "--workers", "2", "--max-queue-bytes", "8mb", "--lag-timeout", "0.05")
    with Serving(*flags) as daemon, daemon.client() as ahead, daemon.client() as behind:
        first, second = iter(ahead), iter(behind)
        for index in range(60):
            check(next(first), index, [2 * MB])
            if index % 2:
                check(next(second), index // 2, [2 * MB])
        for index, batch in enumerate(second, 30):
            check(batch, index, [2 * MB])


def test_streamed_batches_of_any_size_pass_through_little_memory() -> None:
    """Replicas of a generator do not wait for memory that only the others' batches could give back."""
    flags = ("--generator", "sources.pooled:bulky", "--arg", "length=12", "--replicas", "3")
    with Serving(*flags, "--max-queue-bytes", "4mb") as daemon, daemon.client() as client:
        for _ in range(2):
            found = [(int(batch[0]), int(batch[1]), len(batch)) for batch in client]
            assert [one[:2] for one in found] == [(number % 3, number // 3) for number in range(36)]
            assert {one[2] for one in found} == {3 * MB // 8}


def test_slots_of_a_dead_worker_come_back() -> None:
    """Memory that was granted to a worker, or filled by it, is not lost with it."""
    flags = ("--sequence", "sources.faulty:DyingLarge", "--arg", "length=100", "--arg", "every=4")
    with Serving(*flags, "--workers", "2", "--max-queue-bytes", "16mb") as daemon, daemon.client() as client:
        numbers = [int(np.asarray(batch).flat[0]) for batch in client]
        assert numbers == list(range(100))
        stats = daemon.stream_stats()
        assert stats["worker_restarts"] >= 20
        assert stats["slot_bytes"] <= 16 * MB + 5 * 3 * MB


def rests(stats: Callable[[], dict[str, Any]]) -> bool:
    """Whether nothing more is made while nobody takes anything."""
    return len({stats()["made"] for _ in range(200)}) == 1


def test_a_queue_that_memory_bounds_comes_to_rest() -> None:
    """What lies ready is not given up and made again while nobody takes it."""
    flags = ("--workers", "2", "--max-queue-size", "500", "--max-queue-bytes", "16mb")
    with Serving(*sized([520_000], 1000), *flags) as daemon, daemon.client() as client:
        for index, batch in zip(range(40), client, strict=False):
            check(batch, index, [520_000])
        until(lambda: rests(daemon.stream_stats), 10)
        assert daemon.stream_stats()["ready"] >= 20


def test_a_worker_that_begins_when_memory_is_used_up_gets_some() -> None:
    """The others' segments, which share cells among several batches, are not filled again for ever instead."""
    flags = ("--workers", "2", "--max-queue-size", "500", "--max-queue-bytes", "8mb")
    with Serving(*sized([400_000], 1000), *flags) as daemon, daemon.client() as client:
        for index, batch in zip(range(200), client, strict=False):
            check(batch, index, [400_000])
            if index % 20 == 10:
                until(lambda: rests(daemon.stream_stats), 10)
                pids = [worker["pid"] for worker in daemon.stream_stats()["workers"]]
                os.kill(pids[index // 20 % len(pids)], signal.SIGKILL)
        stats = daemon.stream_stats()
    assert stats["worker_restarts"] >= 8
    assert stats["made"] <= 2 * stats["delivered"]


def test_more_segments_than_files_may_be_open(tmp_path: Path) -> None:
    """A long queue of large batches is bounded by the daemon's descriptors too, and goes on."""
    command = [sys.executable, "-m", "enqueued_cli", "serve", *sized([600_000], 1000), "--max-clients", "10"]
    endpoint = f"ipc://{tmp_path}/d.sock"
    command += ["--workers", "2", "--max-queue-size", "900", "--max-queue-bytes", "600mb", "--endpoint", endpoint]
    environ = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    with subprocess.Popen(["sh", "-c", 'ulimit -n 250; exec "$@"', "sh", *command], env=environ) as process:
        try:
            with Client(endpoint, connect_timeout=20, batch_timeout=20) as client:
                until(lambda: rests(lambda: query("stats", endpoint)["streams"][0]), 20)
                for index, batch in zip(range(200), client, strict=False):
                    check(batch, index, [600_000])
        finally:
            process.terminate()
        assert process.wait(20) == 0
