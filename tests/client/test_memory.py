"""Batches in shared memory, as a trainer sees them: private, writable, and its own for as long as it holds them."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from serving import Serving
from trainer import Trainer
from waiting import until

NBYTES = 200_000
LARGE = ("--sequence", "sources.sized:Large", "--workers", "2", "--max-queue-size", "4")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Serving]:
    """A daemon of large batches."""
    with Serving(*LARGE, "--arg", "length=200", "--bind", "tcp://127.0.0.1:*") as serving:
        yield serving.ready()


def right(batches: list[Any], first: int = 0) -> bool:
    """Whether every byte of every batch is what the source made."""
    return all(
        data.nbytes == NBYTES and int(number) == index and bool((data == index % 251).all())
        for index, (data, number) in enumerate(batches, first)
    )


def leases(daemon: Serving) -> int:
    """How many leases are out."""
    groups = daemon.stream_stats()["groups"]
    return sum(member["leases"] for group in groups for member in group["members"])


def test_large_batches_are_seen_where_they_lie(daemon: Serving) -> None:
    """And are writable, whatever is written there."""
    with daemon.client() as client:
        for index, (data, _) in enumerate(client.steps(100)):
            assert client._subscription.link is not None
            assert client._subscription.link.views.alive >= 1
            assert data.flags.writeable
            assert (data == index % 251).all()
            data += 1
            data[: 1 + index * 1000] = 255
            assert data[-1] == (255 if index * 1000 >= NBYTES else (index % 251 + 1) % 256)


def test_what_one_trainer_changes_no_other_sees(daemon: Serving) -> None:
    """Both have the same slot."""
    with daemon.client() as one, daemon.client() as other:
        for index, (mine, theirs) in enumerate(zip(one.steps(30), other.steps(30), strict=True)):
            mine[0][:] = 252
            assert (theirs[0] == index % 251).all()
            theirs[0][:] = 253
            assert (mine[0] == 252).all()


@pytest.mark.parametrize("where", [0, 1])
def test_a_trainer_that_keeps_everything_gets_everything(daemon: Serving, where: int) -> None:
    """Past its quota it is given copies: no deadlock, and the slots stay bounded."""
    address = daemon.stats()["endpoints"][where]
    with daemon.client(address, prefetch=3) as client:
        kept = list(client)
        assert len(kept) == 200
        assert right(kept)
        assert daemon.stream_stats()["slot_bytes"] < 30 * (NBYTES + 65536)
        for data, _ in kept:
            data[:] = 7
        assert right(list(client))


def test_a_quota_beyond_the_daemons_limit_is_no_deadlock() -> None:
    """The daemon gives 4096 leases at most, however many are asked for."""
    with (
        Serving("--sequence", "sources.sized:Large", "--arg", "length=4500", "--arg", "nbytes=65536") as daemon,
        daemon.client(prefetch=10_000) as client,
    ):
        kept = []
        for data, number in client:
            kept.append(data)
            assert data[0] == int(number) % 251
        assert len(kept) == 4500


def test_slices_keep_their_batch(daemon: Serving) -> None:
    """Long after the batch itself is gone."""
    with daemon.client(prefetch=2) as client:
        slices = [data[100:200] for data, _ in client.steps(50)]
        assert all((one == index % 251).all() for index, one in enumerate(slices))
        gc.collect()
        rest = list(client.steps(100))
        assert right(rest, 50)
        assert all((one == index % 251).all() for index, one in enumerate(slices))


def test_arrays_stay_as_they_are_after_close(daemon: Serving) -> None:
    """While the daemon makes many more batches for others."""
    with daemon.client(prefetch=4) as client:
        kept = list(client.steps(4))
    client.close()
    with daemon.client() as other:
        assert right(list(other.steps(150)))
    assert right(kept)
    kept[0][0][:] = 9
    assert right(kept[1:], 1)


def test_slots_come_back_once_the_last_array_is_gone() -> None:
    """Of a client that was closed before: its hand-off connection stays until then."""
    with Serving(*LARGE) as daemon:
        with daemon.client(prefetch=4) as client:
            kept = list(client.steps(4))
            descriptors = _descriptors(daemon)
        assert right(kept)
        until(lambda: daemon.stats()["clients"] == 0)
        kept.clear()
        gc.collect()
        until(lambda: _descriptors(daemon) < descriptors, what="the daemon has closed the hand-off connection")
        with daemon.client() as client:
            assert right(list(client))


def _descriptors(daemon: Serving) -> int:
    """How many the daemon has, but for those of segments: how many of these there are is up to the workers."""
    folder = f"/proc/{daemon.process.pid}/fd"
    links = []
    for name in os.listdir(folder):
        try:
            links.append(os.readlink(f"{folder}/{name}"))
        except FileNotFoundError:
            continue
    return sum("memfd" not in link for link in links)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_arrays_outlive_the_daemon(end: str) -> None:
    """However it ends."""
    with Serving(*LARGE, expect=None) as daemon:
        client = daemon.client(prefetch=4)
        kept = list(client.steps(4))
        daemon.stop() if end == "stop" else daemon.kill()
        assert right(kept)
        kept[3][0][5] = 3
        client.close()
        assert right(kept[:3])
        if end == "kill":
            until(lambda: not daemon.processes(), 5, "no process is left")
            daemon.start()
            with daemon.client() as other:
                assert right(list(other))
            assert right(kept[:3])


def test_a_killed_client_gives_everything_back() -> None:
    """Slots and leases, within three seconds, also when a child that it forked lives on."""
    with Serving(*LARGE, "--arg", "length=1000") as daemon:
        for fork in (False, True):
            with Trainer() as trainer:
                trainer(f"client = Client({daemon.endpoint!r}, prefetch=8); kept = list(client.steps(8))")
                child = None
                if fork:
                    trainer("import signal\npid = os.fork()\nif pid == 0: signal.pause()")
                    child = int(trainer("pid"))
                assert leases(daemon) >= 8
                trainer.kill()
                until(lambda: daemon.stats()["clients"] == 0, 3, "the daemon has noticed")
                assert daemon.stream_stats()["groups"] == []
                with daemon.client() as client:
                    assert right(list(client.steps(100)))
                assert daemon.stream_stats()["slot_bytes"] < 40 * NBYTES
                if child is not None:
                    os.kill(child, signal.SIGKILL)


def test_a_client_killed_over_tcp_gives_everything_back() -> None:
    """The lost connection tells."""
    with Serving(*LARGE, "--bind", "tcp://127.0.0.1:*") as daemon, Trainer() as trainer:
        daemon.ready()
        trainer(f"client = Client({daemon.stats()['endpoints'][1]!r}); kept = list(client.steps(3))")
        assert leases(daemon) >= 1
        trainer.kill()
        until(lambda: daemon.stats()["clients"] == 0, 3, "the daemon has noticed")


def test_clients_come_and_go_and_nothing_stays() -> None:
    """Thirty of them: the daemon's descriptors return to where they were."""
    with Serving(*LARGE, "--bind", "tcp://127.0.0.1:*") as daemon:
        daemon.ready()
        addresses = daemon.stats()["endpoints"]
        for address in addresses:
            with daemon.client(address) as client:
                assert right(list(client.steps(10)))
        until(lambda: daemon.stats()["clients"] == 0)
        before = _descriptors(daemon)
        for number in range(30):
            with daemon.client(addresses[number % 2]) as client:
                assert right(list(client.steps(3)))
        until(lambda: _descriptors(daemon) <= before, 5, "the daemon's descriptors are as many as before")
        assert daemon.stats()["clients"] == 0
        assert daemon.stats()["ignored"] == 0


def test_our_own_descriptors_return_too(daemon: Serving) -> None:
    """Of sockets, segments and the pagemap."""
    with daemon.client() as client:
        list(client.steps(3))
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for where in [*daemon.stats()["endpoints"]] * 3:
        with daemon.client(where) as client:
            kept = list(client.steps(6))
        assert right(kept)
        del kept
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_frames_are_aligned_and_writable() -> None:
    """A short frame lies anywhere in ZeroMQ's buffer, but its arrays do not."""
    for nbytes in (100, 5000, 70_000):
        with Serving("--sequence", "sources.counting:Counting", "--arg", f"shape=[{nbytes}]",
                     "--bind", "tcp://127.0.0.1:*") as daemon:  # fmt: skip
            daemon.ready()
            with daemon.client(daemon.stats()["endpoints"][1]) as client:
                for data, _ in client:
                    assert data.flags.writeable
                    assert data.flags.aligned
                    assert data.ctypes.data % 8 == 0
                    data += np.float32(1)
