"""Small batches that come as runs: each is a batch of its own for the trainer, and for the daemon's books."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enqueued.ledger.verification import verify
from enqueued.ledger.writer import checksum
from fake_daemon import FakeDaemon, encoded, honest
from run_items import Runs, batch, client_of, giving, told, two_runs
from serving import Serving, numbers
from waiting import until

FAR = ("--workers", "2", "--max-queue-size", "600")
"""Runs are a part of what may be made ahead."""
TINY = ("--sequence", "sources.counting:Counting", *FAR)
WAYS = pytest.mark.parametrize("frames", [False, True], ids=["ticket", "frame"])


# -- taking -------------------------------------------------------------------------------------------------------


@WAYS
def test_a_run_is_taken_batch_by_batch(frames: bool) -> None:
    """Each is writable and a trainer's own; each is acknowledged once, and what lay in memory is given back once."""

    def send(runs: Runs) -> None:
        two_runs(runs)
        runs.send([3, 0, 0, 20])

    with FakeDaemon(giving(send, frames), welcome=honest(length=20)) as daemon:
        with client_of(daemon) as client:
            kept = []
            for index, (data, more) in enumerate(client):
                assert (data == index).all()
                assert more["text"] == "same"
                assert more["more"].tolist() == [index, -index]
                assert data.flags.writeable
                assert more["more"].flags.writeable
                data += 1000
                more["text"] = "another"
                kept.append(data)
            assert client.step == 20
        assert [int(data[0]) for data in kept] == [1000 + index for index in range(20)]
        until(lambda: ["BYE"] in daemon.heard)
        assert told(daemon, 1) == list(range(20))
        assert told(daemon, 2) == ([] if frames else list(range(20)))


@WAYS
def test_each_batch_of_a_run_has_its_position_and_the_flags_of_all(frames: bool) -> None:
    """And `done` tells the daemon at once, of just this one; again, or too late, is harmless."""

    def send(runs: Runs) -> None:
        runs.add(3, [batch(index) for index in range(3, 8)], epoch=2, flags=1)
        runs.add(8, [batch(index) for index in range(8, 10)], epoch=2)
        runs.send()

    with (
        FakeDaemon(giving(send, frames), welcome=honest(epoch=2, index=3, length=10)) as daemon,
        client_of(daemon) as client,
    ):
        taken = client.batches()
        first, second = next(taken), next(taken)
        assert [(one.position, one.redelivered) for one in (first, second)] == [((2, 3), True), ((2, 4), True)]
        first.done()
        second.done()
        until(lambda: told(daemon, 1) == [0, 1])
        first.done()
        second.done()
        third = next(taken)
        second.done()
        assert client.stats is not None
        client._subscription.ask("stats")
        assert told(daemon, 1) == [0, 1]
        third.done()
        until(lambda: told(daemon, 1) == [0, 1, 2])
        rest = [next(taken) for _ in range(4)]
        assert [(one.index, one.redelivered) for one in rest] == [(6, True), (7, True), (8, False), (9, False)]
        assert [int(one.data[0][0]) for one in rest] == [6, 7, 8, 9]


@WAYS
@pytest.mark.parametrize(
    "batches",
    [
        [None] * 6,
        [np.arange(3), None, np.arange(3), None],
        [0, 1, 2, 3, 4],
        [[], [], []],
        [np.array(1), np.array(2), np.array(3)],
        ["a", "longer than before", "", "c"],
        [np.full(100_000, value, np.uint8) for value in range(3)],
    ],
    ids=["none", "some none", "numbers", "empty", "0-d", "texts", "large"],
)
def test_whatever_a_batch_is_it_comes(batches: list[Any], frames: bool) -> None:
    """Also one that is nothing, and runs of batches that others would send one by one."""

    def send(runs: Runs) -> None:
        runs.add(0, batches)
        runs.send([3, 0, 0, len(batches)])

    with FakeDaemon(giving(send, frames), welcome=honest(length=len(batches))) as daemon, client_of(daemon) as client:
        found = list(client)
        assert len(found) == len(batches)
        for one, other in zip(found, batches, strict=True):
            assert type(one) is type(other)
            assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


# -- in the middle of a run ---------------------------------------------------------------------------------------


@WAYS
def test_leaving_in_the_middle_of_a_run_acknowledges_what_was_taken(frames: bool) -> None:
    """All of the memory is given back, also of what was never looked at; arrays stay what they are."""
    with FakeDaemon(giving(two_runs, frames), welcome=honest(length=20)) as daemon:
        with client_of(daemon) as client:
            taken = iter(client)
            kept = [next(taken)[0] for _ in range(3)]
        until(lambda: ["BYE"] in daemon.heard)
        assert told(daemon, 1) == [0, 1, 2]
        assert told(daemon, 2) == ([] if frames else list(range(20)))
    assert [int(data[0]) for data in kept] == [0, 1, 2]


@WAYS
def test_breaking_off_in_the_middle_of_a_run_takes_nothing_more_of_it(frames: bool) -> None:
    """Nor of those behind it: they are given back unread, not acknowledged, and the next epoch comes from its first."""
    with FakeDaemon(giving(two_runs, frames), welcome=honest(length=20)) as daemon, client_of(daemon) as client:
        taken = iter(client)
        for index in range(3):
            assert int(next(taken)[0][0]) == index
        again = iter(client)
        until(lambda: ["SEEK", 1, 1, 0] in daemon.heard)
        runs = Runs(daemon, frames=frames)
        runs.lease, runs.segment = 20, 10
        runs.add(0, [batch(100 + index) for index in range(20)], generation=1, epoch=1)
        runs.send()
        assert [int(next(again)[0][0]) for _ in range(20)] == list(range(100, 120))
        client.close()
        until(lambda: ["BYE"] in daemon.heard)
        assert told(daemon, 1) == [0, 1, 2, *range(20, 40)]
        assert told(daemon, 2) == ([] if frames else list(range(40)))


@WAYS
@pytest.mark.parametrize("group", [None, "g"])
def test_a_daemon_that_goes_in_the_middle_of_a_run_is_told_where_it_was(group: str | None, frames: bool) -> None:
    """Nothing of the run comes twice, and nothing is left out."""
    sessions: list[Runs] = []

    def reply(daemon: FakeDaemon, message: list[Any]) -> None:
        runs = Runs(daemon, frames=frames)
        runs.segment = 10 * len(sessions)
        sessions.append(runs)
        held = daemon.hellos[-1].get("held") or []
        acked = daemon.hellos[-1].get("acked") or []
        start = daemon.hellos[-1].get("start")
        first = len(held) + len(acked) if group else start[1] if isinstance(start, list) else 0
        runs.lease = len(held)
        if first < 20:
            runs.add(first, [batch(index) for index in range(first, 20)])
        runs.send([3, 0, 0, 20])

    with (
        FakeDaemon(reply, welcome=honest(length=20)) as daemon,
        client_of(daemon, group=group) as client,
    ):
        found = []
        for data, _ in client:
            found.append(int(data[0]))
            if len(found) in (3, 7, 19):
                daemon.send("GONE", "restart")
                client._subscription.ask("stats")
        assert found == list(range(20))
        assert len(daemon.hellos) == 4
        if group:
            assert [len(hello["acked"]) for hello in daemon.hellos[1:]] == [2, 6, 18]
            assert [hello["held"] for hello in daemon.hellos[1:]] == [[[0, 2]], [[0, 6]], [[0, 18]]]
        else:
            assert [hello["start"] for hello in daemon.hellos[1:]] == [[0, 3], [0, 7], [0, 19]]


def test_a_state_in_the_middle_of_a_run_goes_on_there() -> None:
    """Saved and loaded by the same client, which leaves what it has of the run."""
    with Serving(*TINY, "--arg", "length=500") as daemon, daemon.client(prefetch=40) as client:
        assert numbers(list(client)) == list(range(500))  # so that makes are known to be short
        taken = iter(client)
        assert numbers([next(taken) for _ in range(203)]) == list(range(203))
        state = client.state_dict()
        assert numbers([next(taken) for _ in range(50)]) == list(range(203, 253))
        client.load_state_dict(state)
        assert numbers(list(client)) == list(range(203, 500))


# -- the ledger ---------------------------------------------------------------------------------------------------


@WAYS
def test_a_ledger_has_the_checksum_of_each_batch_of_a_run(frames: bool, tmp_path: Path) -> None:
    """Of what the daemon sent: what a trainer does to one batch does not show in the next."""
    path = tmp_path / "ledger"
    reply = giving(two_runs, frames)
    with FakeDaemon(reply, welcome=honest(length=20)) as daemon, client_of(daemon, ledger=path) as client:
        taken = iter(client)
        for _ in range(20):
            data, more = next(taken)
            data[...] = -1
            more["more"][...] = -1
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    sums = {tuple(line["at"]): value for line in lines if "at" in line for value in line.values() if value != line["at"]
            and isinstance(value, str) and len(value) == 16}  # fmt: skip
    assert sums == {(0, index): checksum(encoded(batch(index))) for index in range(20)}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", [0, 1], ids=["ipc", "tcp"])
def test_ledgers_of_runs_agree(where: int, tmp_path: Path) -> None:
    """A private client, one that breaks off, and a split group, all with the same batches."""
    with Serving(*TINY, "--arg", "length=400", "--bind", "tcp://127.0.0.1:*") as daemon:
        address = daemon.ready().stats()["endpoints"][where]

        def take(number: int, **arguments: Any) -> int:
            with daemon.client(address, ledger=tmp_path / f"{number}", **arguments) as client:
                if number == 0:
                    for _ in zip(range(57), client, strict=False):
                        pass
                return sum(len(list(epoch)) for epoch in client.epochs(2))

        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(take, 0), pool.submit(take, 1, prefetch=20)]
            jobs += [pool.submit(take, number, group="g") for number in (2, 3)]
            counts = [job.result(60) for job in jobs]
    assert counts[:2] == [800, 800]
    assert sum(counts[2:]) == 800
    report = verify([tmp_path / str(number) for number in range(4)])
    assert report.kept, report


# -- all of it ----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", [0, 1], ids=["ipc", "tcp"])
def test_whatever_the_credit_an_epoch_comes_whole(where: int) -> None:
    """It cuts runs wherever it ends; arrays that are kept stay what they are after everything is closed."""
    flags = ("--sequence", "sources.counting:Counting", "--arg", "length=700", "--workers", "2")
    kept: list[Any] = []
    with Serving(*flags, "--bind", "tcp://127.0.0.1:*") as daemon:
        address = daemon.ready().stats()["endpoints"][where]
        for prefetch in (1, 2, 7, 31, 32, 33, 64, 500):
            with daemon.client(address, prefetch=prefetch) as client:
                for _ in range(2):
                    taken = list(client)
                    assert numbers(taken) == list(range(700))
                    assert [int(number) for _, number in taken] == list(range(700))
                kept = taken
        assert daemon.stats()["ignored"] == 0
    assert numbers(kept) == list(range(700))
    for data, _ in kept:
        assert (data == data.flat[0]).all()


def test_clients_that_leave_in_the_middle_of_runs_leave_nothing_behind() -> None:
    """Whatever they had of them: the daemon needs no more memory than for what it makes ahead."""
    flags = ("--arg", "shape=[1000]", "--arg", "length=300", "--workers", "2", "--max-queue-size", "200")
    with Serving("--sequence", "sources.counting:Counting", *flags, "--bind", "tcp://127.0.0.1:*") as daemon:
        addresses = daemon.ready().stats()["endpoints"]
        for number in range(60):
            taken = number * 4 + 1
            with daemon.client(addresses[number % 2], prefetch=number + 1) as client:
                assert numbers([data for data, _ in zip(client, range(taken), strict=False)]) == list(range(taken))
        with daemon.client() as client:
            for _ in range(3):
                assert numbers(list(client)) == list(range(300))
        until(lambda: daemon.stats()["clients"] == 0, what="all have gone")
        assert daemon.stream_stats()["slot_bytes"] < 4e6  # each would have left 120 KB
        assert daemon.stats()["ignored"] == 0


def test_a_member_that_leaves_in_the_middle_of_a_run_leaves_the_rest_to_others() -> None:
    """Each batch is acknowledged by one of the two; the others of the run that it had are given again, and say so."""
    with Serving(*TINY, "--arg", "length=300") as daemon:
        with daemon.client(group="g", prefetch=50, start="stored") as first:
            taken = first.batches()
            mine = [next(taken).index for _ in range(37)]
        with daemon.client(group="g", prefetch=50, start="stored") as second:
            rest = []
            for one in second.batches():
                if one.epoch:
                    break
                rest.append(one.index)
        assert mine == list(range(37))
        assert sorted(rest) == list(range(37, 300))
