"""Several streams in one daemon: they share the lanes and the memory, and nothing else."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enqueued import Client
from gate import Gate
from serving import Serving
from sources.shared import beside, makes, most_at_once
from waiting import until

MB = 1 << 20


def config(folder: Path, **streams: dict[str, Any]) -> tuple[str, str]:
    """``--config FILE`` for streams and their settings."""
    text = ""
    for name, settings in streams.items():
        text += f"[stream.{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in settings.items())
    path = folder / "streams.toml"
    path.write_text(text)
    return "--config", str(path)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def noted(notes: Path, name: str, kind: str = "Noted", **arguments: Any) -> dict[str, Any]:
    """The settings of a stream with two workers that notes its makes."""
    return {"sequence": f"sources.shared:{kind}", "args": {"path": str(notes), "name": name, **arguments}, "workers": 2}


def both(*tasks: Callable[[], object]) -> None:
    """Run tasks in threads, to their ends; what one raises is raised."""
    errors: list[BaseException] = []

    def run(task: Callable[[], object]) -> None:
        try:
            task()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def stream_stats(daemon: Serving, name: str) -> dict[str, Any]:
    """The snapshot of one stream."""
    found: dict[str, Any] = next(stream for stream in daemon.stats()["streams"] if stream["name"] == name)
    return found


def waits(stats: dict[str, Any]) -> bool:
    """Whether a stream has workers and something to make, and none of them makes it."""
    return bool(stats["making"]) and {worker["state"] for worker in stats["workers"]} == {"idle"}


def place(daemon: Serving, name: str) -> str:
    """The address of one stream."""
    return f"{daemon.endpoint}/{name}"


@pytest.mark.parametrize("pool", ["process", "thread"])
@pytest.mark.parametrize(("make_s", "length"), [(0.01, 60), (0.0, 1500)])
def test_streams_together_make_no_more_at_a_time_than_one_alone(
    make_s: float, length: int, pool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four workers, two lanes: both streams get on, each with a fair part, also where orders are given far ahead."""
    notes = tmp_path / "notes"
    settings = {
        name: noted(notes, name, length=length, make_s=make_s) | {"max_queue_size": 64, "pool": pool}
        for name in ("train", "val")
    }
    with Serving(*config(tmp_path, **settings)) as daemon:
        monkeypatch.setenv("ENQUEUED_ENDPOINT", daemon.endpoint)
        with Client("train") as train, Client("val", fixed_epoch=0) as val:

            def take(client: Client) -> None:
                assert [int(batch[0]) for batch in client] == list(range(length))

            both(lambda: take(train), lambda: take(val))
            both(lambda: take(train), lambda: take(val))
    found = makes(notes)
    assert most_at_once(found) == 2
    if make_s:  # else the clients are slower than the workers, and decide who makes how much
        middle = [name for what, name, _ in found[len(found) // 4 : len(found) // 2] if what == "+"]
        assert all(middle.count(name) >= len(middle) // 4 for name in ("train", "val"))


def test_a_lone_stream_uses_every_lane(tmp_path: Path) -> None:
    """What others do not use is not kept for them."""
    notes = tmp_path / "notes"
    settings = {name: noted(notes, name, make_s=0.02) | {"max_queue_size": 4} for name in ("train", "val")}
    with Serving(*config(tmp_path, **settings)) as daemon:
        until(lambda: len(makes(notes)) == 16, 20, "both have their first batches")
        with daemon.client(place(daemon, "train")) as client:
            assert len(list(client)) == 50
        later = makes(notes)[16:]
        assert {name for _, name, _ in later} == {"train"}
        assert most_at_once(later) == 2
        assert beside(later) >= 15


@dataclass(frozen=True)
class Awake:
    """A daemon whose lanes are all with `train`, and a client of `val`, which has just woken and wants one."""

    daemon: Serving
    val: Client
    notes: Path
    first: Gate
    """Holds the make of train's index 0."""
    others: Gate
    """Holds the makes of all its other indices."""


@contextmanager
def awake(folder: Path) -> Iterator[Awake]:
    """Two streams and two lanes; train's first two makes are held, and more of them wait behind."""
    notes = folder / "notes"
    settings = {
        "train": noted(notes, "train", gate=f"{folder}/gate"),
        "val": noted(notes, "val", "NotedLate", gate=f"{folder}/asleep", length=5),
    }
    with (
        Gate(folder / "gate0") as first,
        Gate(folder / "gate1") as others,
        Gate(folder / "asleep") as asleep,
        Serving(*config(folder, **settings)) as daemon,
    ):
        until(lambda: len(makes(notes)) == 2, 20, "all lanes are busy")
        asleep.open()
        with daemon.client(place(daemon, "val")) as val:
            until(lambda: waits(stream_stats(daemon, "val")), 20, "it wants a lane")
            yield Awake(daemon, val, notes, first, others)


def test_a_stream_that_wakes_gets_the_next_lane_that_comes_free(tmp_path: Path) -> None:
    """However long the others' makes take, and however much they have still to make."""
    with awake(tmp_path) as found:
        assert len(makes(found.notes)) == 2
        found.first.open()
        assert len(list(found.val)) == 5
        found.val.close()
        later = makes(found.notes)[2:]
        assert later[:2] == [("-", "train", 0), ("+", "val", 0)]
        found.others.open()
        assert most_at_once(makes(found.notes)) == 2


def test_a_lane_of_a_worker_that_dies_comes_back(tmp_path: Path) -> None:
    """To the stream that has less than its part; a source whose worker was killed does not touch another."""
    with awake(tmp_path) as found:
        os.kill(stream_stats(found.daemon, "train")["workers"][0]["pid"], signal.SIGKILL)
        assert len(list(found.val)) == 5
        found.val.close()
        assert stream_stats(found.daemon, "val")["worker_restarts"] == 0
        found.first.open()
        found.others.open()
        with found.daemon.client(place(found.daemon, "train")) as client:
            assert [int(batch[0]) for batch in client] == list(range(50))


def test_more_streams_than_lanes_take_turns(tmp_path: Path) -> None:
    """One lane for three: all get on, one make at a time."""
    notes = tmp_path / "notes"
    names = ("train", "val", "test")
    settings = {name: noted(notes, name, length=40, make_s=0.003) | {"workers": 1} for name in names}
    with Serving(*config(tmp_path, **settings)) as daemon:

        def take(name: str) -> None:
            with daemon.client(place(daemon, name)) as client:
                for _ in range(2):
                    assert [int(batch[0]) for batch in client] == list(range(40))

        both(*[lambda name=name: take(name) for name in names])
    found = makes(notes)
    assert most_at_once(found) == 1
    middle = [name for what, name, _ in found[len(found) // 4 : len(found) // 2] if what == "+"]
    assert all(middle.count(name) >= len(middle) // 6 for name in names)


def test_generations_of_a_source_share_its_lanes(tmp_path: Path) -> None:
    """Clients in different epochs have processes of their own, and no more lanes for that; all get on."""
    notes = tmp_path / "notes"
    settings = {"train": noted(notes, "train", "NotedHooked", length=30, make_s=0.005) | {"lag_timeout": 0.05}}
    with Serving(*config(tmp_path, **settings)) as daemon:
        clients = [daemon.client(fixed_epoch=epoch) for epoch in range(3)]
        try:
            both(*[lambda client=client: [list(client) for _ in range(2)] for client in clients])
        finally:
            for client in clients:
                client.close()
    assert most_at_once(makes(notes)) == 2


def test_each_stream_has_its_own_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal seeds give equal batches, in one daemon too."""
    source = {"sequence": "sources.pooled:Augmented", "args": {"length": 8}}
    seeds = {"train": 1, "val": 2, "again": 1}
    with Serving(*config(tmp_path, **{name: source | {"seed": seed} for name, seed in seeds.items()})) as daemon:
        monkeypatch.setenv("ENQUEUED_ENDPOINT", daemon.endpoint)
        found = {}
        for name in seeds:
            with Client(name, fixed_epoch=0) as client:
                found[name] = [batch["x"].tolist() for batch in client]
                assert found[name] == [batch["x"].tolist() for batch in client]
    assert found["train"] == found["again"]
    assert not any(mine == other for mine, other in zip(found["train"], found["val"], strict=True))


def sized(nbytes: int, length: int, **settings: Any) -> dict[str, Any]:
    """A stream of large batches."""
    return {"sequence": "sources.pooled:Sized", "args": {"sizes": [nbytes], "length": length}, **settings}


@pytest.mark.parametrize("limit", ["6mb", "1mb"])
def test_two_streams_of_large_batches_pass_through_little_memory(limit: str, tmp_path: Path) -> None:
    """A few segments, or less than one: both clients get all of it."""
    settings = {name: sized(3 * MB, 20, workers=2) for name in ("train", "val")}
    with Serving(*config(tmp_path, **settings), "--max-queue-bytes", limit) as daemon:

        def take(name: str) -> None:
            with daemon.client(place(daemon, name)) as client:
                for _ in range(2):
                    for index, batch in enumerate(client):
                        np.testing.assert_array_equal(batch[:: MB // 4], index)
                    assert index == 19

        both(lambda: take("train"), lambda: take("val"))
        assert daemon.stats()["streams"][0]["slot_bytes"] <= 6 * MB + 12 * 4 * MB


def test_a_stream_that_came_first_gives_memory_back(tmp_path: Path) -> None:
    """It may use what nobody else does; another that has a client then has a fair part, and keeps it."""
    train = sized(520_000, 1000, max_queue_size=500, workers=2)
    val = {**train, "sequence": "sources.shared:LateSized", "args": {**train["args"], "gate": f"{tmp_path}/gate"}}
    flags = (*config(tmp_path, train=train, val=val), "--max-queue-bytes", "16mb")
    with Gate(tmp_path / "gate") as gate, Serving(*flags) as daemon:

        def ready(name: str) -> int:
            found: int = stream_stats(daemon, name)["ready"]
            return found

        with daemon.client(place(daemon, "train")) as first:
            next(iter(first))
            until(lambda: ready("train") >= 20, 20, "it uses all memory")
            gate.open()
            with daemon.client(place(daemon, "val")) as second:
                epoch = iter(second)
                assert [int(next(epoch)[0]) for _ in range(40)] == list(range(40))
                until(lambda: ready("val") >= 10 and ready("train") >= 10, 20, "both look ahead")
                assert [int(next(epoch)[0]) for _ in range(40)] == list(range(40, 80))
        assert daemon.stats()["streams"][0]["slot_bytes"] <= 16 * MB + 8 * MB
