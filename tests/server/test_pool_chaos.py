"""Everything at once: processes of the pool are killed at random while clients read, and the ledger stays exact."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from serving import Serving
from waiting import until

EPOCHS = 6
LENGTH = 150


def named(daemon: Serving, prefix: str) -> list[int]:
    """The daemon's processes whose name begins so."""
    found = []
    for pid in daemon.processes():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().startswith(prefix):
                found.append(pid)
    return found


def read(daemon: Serving, ledger: list[list[tuple[int, int]]], epochs: int) -> None:
    """Take whole epochs, and write down what came."""
    with daemon.client(batch_timeout=40.0) as client:
        ledger.extend([(int(batch[1]), int(batch[0])) for batch in epoch] for epoch in client.epochs(epochs))


@pytest.mark.timeout(150)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_workers_and_epochs_zygotes_killed_at_random_change_no_epoch(seed: int) -> None:
    """A Sequence that shuffles itself, unseeded: two clients see the same epochs, each sample once."""
    chance = random.Random(seed)
    flags = ("--sequence", "sources.pooled:SelfShuffling", "--arg", f"length={LENGTH}", "--arg", "draws=true")
    with Serving(*flags, "--workers", "2", "--max-generations", "3") as daemon:
        daemon.ready()
        first: list[list[tuple[int, int]]] = []
        second: list[list[tuple[int, int]]] = []
        threads = [threading.Thread(target=read, args=(daemon, ledger, EPOCHS)) for ledger in (first, second)]
        threads[0].start()
        until(lambda: first, 30, "the first client is in its second epoch")
        threads[1].start()
        made = kills = 0
        while any(thread.is_alive() for thread in threads):
            now = daemon.stream_stats()["made"]
            if now - made > 40:
                made = now
                zygote = chance.random() < 0.3
                victims = named(daemon, "enq-zygote-" if zygote else "enq-worker-")
                if victims:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(chance.choice(victims), signal.SIGKILL)
                        kills += 1
        for thread in threads:
            thread.join()
        assert len(first) == len(second) == EPOCHS
        for number, epoch in enumerate(first):
            assert {one[0] for one in epoch} == {number}
            assert sorted(one[1] for one in epoch) == list(range(LENGTH))
        assert first == second
        assert kills > 5, daemon.log


@pytest.mark.timeout(150)
def test_the_first_zygote_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    """The source is loaded anew each time; a plain Sequence goes on exactly where it was."""
    with Serving("--sequence", "sources.pooled:Augmented", "--arg", "length=1500", "--workers", "2") as daemon:
        with daemon.client() as client:
            undisturbed = [batch["x"].tobytes() for batch in client]
        with daemon.client() as client:
            found = []
            for number, batch in enumerate(client):
                found.append(batch["x"].tobytes())
                if number % 300 == 100:
                    for pid in named(daemon, "enq-zygote"):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
        assert found == undisturbed
        assert daemon.log.count("the source is loaded again") >= 3  # a kill may meet one that is on its way


@pytest.mark.timeout(120)
def test_threads_that_die_together_lose_nothing() -> None:
    """The one process of a pool of threads is killed: what all its lanes had is made again."""
    flags = ("--sequence", "sources.pooled:OwnNumbers", "--arg", "length=800", "--workers", "4", "--pool", "thread")
    with Serving(*flags) as daemon, daemon.client() as client:
        undisturbed = [batch["x"].tobytes() for batch in client]
        with daemon.client() as another:
            found = []
            for number, batch in enumerate(another):
                found.append(batch["x"].tobytes())
                if number % 200 == 100:
                    for pid in named(daemon, "enq-worker"):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
        assert found == undisturbed
        assert daemon.stream_stats()["worker_restarts"] >= 3


@pytest.mark.timeout(120)
def test_memory_that_was_promised_to_the_dead_is_not_lost() -> None:
    """Large batches in little memory, and workers killed at any moment, also while they wait for memory."""
    flags = ("--sequence", "sources.pooled:Sized", "--arg", "sizes=[3000000,50000]", "--arg", "length=400")
    chance = random.Random(3)
    with Serving(*flags, "--workers", "3", "--max-queue-bytes", "12mb") as daemon, daemon.client() as client:
        for number, batch in enumerate(client):
            assert batch[0] == batch[-1] == number % 251
            if number % 15 == 5:
                victims = named(daemon, "enq-worker")
                with contextlib.suppress(ProcessLookupError, IndexError):
                    os.kill(chance.choice(victims), signal.SIGKILL)
        assert daemon.stream_stats()["slot_bytes"] <= (12 << 20) + 6 * 4_000_000
        with daemon.client() as another:
            assert len(list(another)) == 400


def test_clients_that_come_and_go_while_epochs_open(tmp_path: Path) -> None:
    """Clients of a Sequence with an epoch hook leave in the middle of epochs; whoever stays sees whole ones."""
    flags = ("--sequence", "sources.pooled:SelfShuffling", "--arg", "length=20", "--workers", "2")
    with Serving(*flags, "--max-generations", "1") as daemon, daemon.client() as steady:
        expected: list[list[int]] = []
        for number in range(5):
            with daemon.client() as passing:
                for epoch in passing.epochs(number):
                    assert sorted(int(batch[0]) for batch in epoch) == list(range(20))
                next(iter(passing))
            expected.append([int(batch[0]) for batch in steady])
            assert sorted(expected[-1]) == list(range(20))
        with daemon.client(fixed_epoch=3) as validating:
            for _ in range(2):
                assert [int(batch[0]) for batch in validating] == expected[3]
        with daemon.client() as late:
            assert [[int(batch[0]) for batch in epoch] for epoch in late.epochs(5)] == expected


def test_a_daemon_killed_in_any_state_leaves_nothing(tmp_path: Path) -> None:
    """While the source is loaded, between epochs, with many zygotes: the pool ends with it."""
    flags = ("--sequence", "sources.pooled:SelfShuffling", "--arg", "length=5", "--workers", "2")
    with Serving(*flags) as daemon:
        for epochs in (0, 1, 3, 6):
            if epochs:
                with daemon.client() as client:
                    for epoch in client.epochs(epochs):
                        assert len(list(epoch)) == 5
            else:
                until(lambda: named(daemon, "enq-zygote"), 20, "a zygote")
            daemon.kill()
            until(lambda: not daemon.processes(), 3, "no process is left")
            daemon.start()
        with daemon.client() as client:
            assert np.array(list(client)).shape == (5, 2)
