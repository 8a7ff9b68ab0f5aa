"""What a client notes and tells while it works: skipped batches, changed code, the ledger."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from enqueued import Client
from enqueued.errors import ClosedClient, ConfigError, SourceError
from enqueued.ledger.verification import verify
from fake_daemon import FakeDaemon, encoded, frames, honest
from serving import Serving

LENGTH = 20
SOURCE = ("--sequence", "sources.sized:Large", "--arg", "nbytes=100", "--arg", f"length={LENGTH}", "--workers", "2")
SMALL = encoded(5)


def client_of(daemon: FakeDaemon, **arguments: Any) -> Client:
    """A client that does not wait for ever."""
    return Client(daemon.endpoint, connect_timeout=10.0, batch_timeout=10.0, **arguments)


def giving(items: list[list[Any]]) -> Callable[[FakeDaemon, list[Any]], None]:
    """Sends these when there is credit."""
    return lambda daemon, _: daemon.send("BATCHES", items, [], frames=(SMALL,) * sum(item[0] == 1 for item in items))


def skipped(lease: int, index: int) -> list[Any]:
    """An item of a batch that is to be left out."""
    return [2, lease, 0, 0, index, 0, {"message": "cannot read 7.jpg", "kind": "skipped"}]


# -- skipped batches ----------------------------------------------------------------------------------------------


def test_skipped_batches_are_counted_and_told_rarely(caplog: pytest.LogCaptureFixture) -> None:
    """They are acknowledged, and the iteration goes on; what is told of them does not fill the log."""
    items = [*(skipped(index, index) for index in range(20)), *frames((0, 20), lease=20), [3, 0, 0, 21]]
    with FakeDaemon(giving(items), welcome=honest(length=21)) as daemon:
        with client_of(daemon) as client:
            assert list(client) == [5]
            assert (client.skipped, client.step) == (20, 1)
        done = [run for message in daemon.heard if message[0] == "TAKE" for run in message[1]]
        assert sum(count for _, count in done) == 21
    told = [record.message for record in caplog.records if "skipped" in record.message]
    assert told[0] == "0:0 is skipped, 1 in all so far: cannot read 7.jpg"
    assert [re.sub(r".*, (\d+) in all.*", r"\1", one) for one in told] == ["1", "2", "4", "8", "16"]


def test_a_rank_is_told_of_a_batch_that_it_cannot_skip() -> None:
    """The others would be ahead of it by a step."""
    with (
        FakeDaemon(giving([skipped(0, 0)]), welcome=honest()) as daemon,
        client_of(daemon, rank=0, world_size=2) as client,
        pytest.raises(SourceError, match=r"cannot read 7\.jpg"),
    ):
        next(iter(client))


def test_failing_batches_can_be_skipped() -> None:
    """`--on-error skip`: private clients and split groups get the others; ranks another one, marked."""
    source = ("--sequence", "sources.sized:Failing", "--arg", "at=[0,3,9]", "--workers", "2")
    with Serving(*source, "--on-error", "skip") as daemon:
        with daemon.client() as client:
            assert [int(number) for _, number in client] == [1, 2, 4, 5, 6, 7, 8]
            assert client.skipped == 3
            assert (client.state_dict()["epoch"], client.state_dict()["index"]) == (1, 0)
        clients = [daemon.client(rank=rank, world_size=2) for rank in range(2)]

        def take(client: Client) -> list[tuple[int, bool]]:
            return [(batch.index, batch.padded) for batch in itertools.islice(client.batches(), 5)]

        with ThreadPoolExecutor(2) as pool:
            taken = list(pool.map(take, clients))
        for client in clients:
            assert client.state_dict()["epoch"] == 1
            client.close()
        for rank, mine in enumerate(taken):
            for step, (index, padded) in enumerate(mine):
                failing = 2 * step + rank in (0, 3, 9)
                assert padded is failing
                assert (index != 2 * step + rank) is failing


# -- code that was changed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["changed", "same", "older", "gone", "unknown"])
def test_code_that_was_changed_is_told_once(case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Only when it is not what the daemon has, and newer; not again when the daemon is lost and found."""
    path = tmp_path / "mymod.py"
    path.write_text("new")
    os.utime(path, (2_000_000_000, 2_000_000_000))
    told = {
        "file": "" if case == "unknown" else str(path),
        "hash": hashlib.sha256(b"new" if case == "same" else b"old").hexdigest()[:16],
        "loaded_at": 2_000_000_000 + (1 if case == "older" else -60),
    }
    if case == "gone":
        path.unlink()
    with FakeDaemon(welcome=honest(**told)) as daemon, client_of(daemon) as client:
        daemon.send("GONE", "restart")
        client._subscription.ask("stats")
        assert len(daemon.hellos) == 2
    warned = [record.message for record in caplog.records if "mymod" in record.message]
    assert len(warned) == (case == "changed")
    for one in warned:
        expected = r"mymod\.py changed at \d\d:\d\d, the daemon loaded it at \d\d:\d\d: enqueued reload"
        assert re.fullmatch(expected, one)


# -- the ledger ---------------------------------------------------------------------------------------------------


def sound(*paths: Path) -> Any:
    """The report of ledgers, which must find nothing wrong."""
    report = verify(paths)
    assert report.kept, report
    return report


def test_a_ledger_has_a_line_for_each_acknowledged_batch(tmp_path: Path) -> None:
    """Of breaks, seeks, states and fixed epochs, too; what was not acknowledged is not in it."""
    path = tmp_path / "ledger"
    with Serving(*SOURCE, "--shuffle") as daemon:
        with daemon.client(ledger=path) as client:
            list(client)
            next(iter(client))
            taken = client.steps(5)
            state = client.state_dict()
            for _ in taken:
                pass
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            assert sum("at" in line for line in lines) == LENGTH + 1 + 5
            client.load_state_dict(state)
            list(client)
        with daemon.client(ledger=path, fixed_epoch=0) as client:
            list(client)
            list(client)
    report = sound(path)
    assert sum(group.acknowledged for group in report.groups) == LENGTH + 1 + 5 + LENGTH - 1 + 2 * LENGTH


def test_a_ledger_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For trainers that nobody wants to change; the argument goes before it."""
    monkeypatch.setenv("ENQUEUED_LEDGER", str(tmp_path / "one"))
    with Serving(*SOURCE) as daemon:
        with daemon.client() as client:
            list(client)
        with daemon.client(ledger=tmp_path / "other") as client:
            list(client)
    assert [sound(tmp_path / name).groups[0].acknowledged for name in ("one", "other")] == [LENGTH, LENGTH]


def test_a_ledger_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """At once, before any daemon is looked for."""
    with pytest.raises(ConfigError, match="cannot be opened"):
        Client("ipc:///nowhere.sock", ledger=tmp_path / "none" / "ledger")


@pytest.mark.parametrize("kind", ["private", "split", "ranks"])
def test_a_ledger_proves_what_a_daemons_death_did(kind: str, tmp_path: Path) -> None:
    """Killed three times in the midst of epochs: nothing is lost, and what comes twice is marked."""
    path = tmp_path / "ledger"
    who: dict[str, list[dict[str, Any]]] = {
        "private": [{}, {}],
        "split": [{"group": "g"}] * 2,
        "ranks": [{"rank": rank, "world_size": 2} for rank in range(2)],
    }
    with Serving(*SOURCE, "--arg", "length=300") as daemon:
        clients = [daemon.client(ledger=path, **arguments) for arguments in who[kind]]

        def train(client: Client) -> int:
            return sum(len(list(epoch)) for epoch in client.epochs(2))

        def disturb(client: Client) -> int:
            count = 0
            for epoch in client.epochs(2):
                for _ in epoch:
                    count += 1
                    if count in (50, 120, 400):
                        daemon.kill()
                        daemon.start()
            return count

        with ThreadPoolExecutor(2) as pool:
            other = pool.submit(train, clients[1])
            taken = [disturb(clients[0]), other.result(60)]
        for client in clients:
            client.close()
    report = verify([path], complete=True)
    assert report.kept, report
    if kind == "private":
        assert taken == [600, 600]
    elif kind == "ranks":
        assert taken == [300, 300]
    else:
        assert sum(taken) >= 600


def test_a_closed_client_writes_nothing_more(tmp_path: Path) -> None:
    """And its last batch is in it."""
    path = tmp_path / "ledger"
    with Serving(*SOURCE) as daemon:
        client = daemon.client(ledger=path)
        next(iter(client))
        client.close()
        client.close()
        with pytest.raises(ClosedClient):
            next(iter(client))
    assert sound(path).groups[0].acknowledged == 1
