"""Stopping: a signal is obeyed in every state, and nothing is left."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from enqueued.errors import ClientError
from gate import Gate
from serving import Serving
from waiting import until

COUNTING = ("--sequence", "sources.counting:Counting")
HANGING = ("--sequence", "sources.faulty:Dying", "--arg", "how=hang", "--arg", "at=[2]")


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """What is inside takes no longer than this, give or take what a busy machine adds."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds + 3


def name_of(pid: int) -> str:
    """The name of a process."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def hangs(daemon: Serving) -> bool:
    """Whether all is made that can be, and one worker is still busy."""
    stats = daemon.stream_stats()
    busy = sum(worker["state"] == "busy" for worker in stats["workers"])
    return bool(busy == 1 and stats["ready"] and stats["ready"] + stats["making"] >= 9)


def test_a_signal_while_the_source_is_loaded_stops_at_once() -> None:
    """A constructor that hangs does not hold up the end."""
    flags = ("--sequence", "sources.faulty:Unwilling", "--arg", "how=hang")
    with Serving(*flags) as daemon:
        until(lambda: any(name_of(pid) == "enq-zygote" for pid in daemon.processes()), 10, "a zygote")
        with at_most(1):
            assert daemon.stop() == 0
        assert "serving" not in daemon.log


def test_a_signal_before_anything_is_there_stops_too() -> None:
    """Wherever the start has come to, the signal ends it, and nothing is left."""
    for files in range(4):
        with Serving(*COUNTING, expect=None) as daemon:
            until(lambda: len(list(daemon.folder.iterdir())) > files, 10, "it starts")  # noqa: B023 - called here
            assert daemon.stop() in (0, -signal.SIGTERM)


def test_a_signal_with_a_full_queue_and_no_client_stops_at_once() -> None:
    """Nobody has to take what is ready."""
    with Serving(*COUNTING, "--workers", "2") as daemon:
        until(lambda: "serving" in daemon.log and daemon.stream_stats()["ready"] == 10, 20, "a full queue")
        with at_most(1):
            assert daemon.stop() == 0


def test_a_signal_with_a_hung_worker_waits_for_the_graceful_timeout() -> None:
    """Then it ends all the same, with 0."""
    with Serving(*HANGING, "--graceful-timeout", "1") as daemon, daemon.client() as client:
        epoch = iter(client)
        assert [int(next(epoch)[0]) for _ in range(2)] == [0, 1]
        until(lambda: hangs(daemon), 10, "a worker hangs")
        with at_most(2):
            assert daemon.stop() == 0


def test_a_stopped_worker_does_not_outlive_the_daemon() -> None:
    """A worker that gets no turn is killed after the graceful time."""
    with Serving(*COUNTING, "--graceful-timeout", "0.5", "--workers", "2") as daemon:
        daemon.ready()
        os.kill(until(lambda: [pid for pid in daemon.processes() if "worker" in name_of(pid)], 10)[0], signal.SIGSTOP)
        with at_most(1.5):
            assert daemon.stop() == 0


def test_a_second_signal_is_immediate() -> None:
    """It does not wait for a hung worker, and the exit code says that not all was done."""
    with Serving(*HANGING, "--graceful-timeout", "600", expect=1) as daemon, daemon.client() as client:
        epoch = iter(client)
        assert [int(next(epoch)[0]) for _ in range(2)] == [0, 1]
        until(lambda: hangs(daemon), 10, "a worker hangs")
        daemon.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in daemon.log, 10, "it drains")
        with at_most(1):
            assert daemon.stop() == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_batches_flow_stops_in_order(number: int) -> None:
    """The client is told, and what it has stays whole."""
    flags = (*COUNTING, "--arg", "length=100000", "--workers", "2", "--graceful-timeout", "5")
    with Serving(*flags) as daemon, daemon.ready().client(connect_timeout=1.0) as client:
        epoch = iter(client)
        held = [next(epoch) for _ in range(100)]
        with at_most(5):
            assert daemon.stop(number) == 0
        with pytest.raises(ClientError):
            for _ in epoch:
                pass
        assert [int(batch[1]) for batch in held] == list(range(100))


def test_a_slow_batch_is_finished_before_the_end(tmp_path: Path) -> None:
    """Workers end after the batch that they are making, not in the middle of it."""
    flags = ("--sequence", "sources.faulty:Slow", "--arg", f"folder={tmp_path}", "--workers", "2")
    with Gate(tmp_path / "gate") as gate, Serving(*flags) as daemon:
        until(lambda: (tmp_path / "begun-0").exists(), 20, "it makes the first batch")
        daemon.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in daemon.log, 10, "it drains")
        assert daemon.process.poll() is None
        gate.open()
        with at_most(1):
            assert daemon.wait() == 0
        assert "ERROR" not in daemon.log


def test_many_workers_stop_without_a_word() -> None:
    """Workers that are told to stop while orders wait are not made again."""
    for _ in range(3):
        with Serving(*COUNTING, "--arg", "length=5000", "--workers", "5") as daemon, daemon.client() as client:
            epoch = iter(client)
            for _ in range(200):
                next(epoch)
            with at_most(1):
                assert daemon.stop() == 0
            assert "replaced" not in daemon.log
            assert "Traceback" not in daemon.log


def test_signals_to_every_process_of_the_pool_leave_nothing() -> None:
    """A service manager may tell everybody to end at once."""
    with Serving(*COUNTING, "--workers", "3", expect=None) as daemon:
        daemon.ready()
        for pid in daemon.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        assert daemon.wait() == 0
        until(lambda: not daemon.processes(), 5, "nothing is left")
