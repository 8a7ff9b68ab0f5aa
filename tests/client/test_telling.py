"""When the daemon is told what is done."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from enqueued.client import subscription
from gate import Gate
from serving import Serving
from waiting import until


@pytest.mark.parametrize("address", [0, 1], ids=["slots", "frames"])
def test_who_waits_has_told_what_is_done(tmp_path: Path, address: int) -> None:
    """However few they are: others may wait for just these, at the end of an epoch for example."""
    flags = ("--sequence", "sources.sized:Gated", "--arg", f"gate={tmp_path}/gate", "--arg", "free=3")
    with Gate(tmp_path / "gate") as gate, Serving(*flags, "--bind", "tcp://127.0.0.1:*") as daemon:
        daemon.ready()
        endpoint = daemon.stats()["endpoints"][address]
        with daemon.client(endpoint, prefetch=20) as client:
            taken: list[int] = []
            thread = threading.Thread(target=lambda: taken.extend(int(number) for _, number in client.steps(4)))
            thread.start()

            def standing() -> tuple[int, int]:
                """How many were given, and how many of them are not acknowledged."""
                (group,) = daemon.stream_stats()["groups"]
                return group["members"][0]["delivered"], group["leases"]

            until(lambda: standing() == (3, 0), 10, "all that was taken is acknowledged")
            gate.open()
            thread.join(20)
            assert taken == [0, 1, 2, 3]


def test_what_comes_at_once_is_told_of_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is faster than its batches come has nothing in hand, and does not tell of each by itself."""
    monkeypatch.setattr(subscription, "_SOON_S", 10.0)  # that a machine is slow does not matter here
    with Serving("--sequence", "sources.sized:Large", "--arg", "length=100", "--bind", "tcp://127.0.0.1:*") as daemon:
        daemon.ready()
        with daemon.client(daemon.stats()["endpoints"][1], prefetch=15) as client:
            before = daemon.stats()["messages"]
            assert [int(number) for _, number in client.steps(100)] == list(range(100))
            told = daemon.stats()["messages"] - before
    assert told <= 100 + 100 // 8 + 10  # a frame for each, a word for every eight, and what asking took


@pytest.mark.parametrize(
    "membership",
    [{}, {"group": "all"}, {"group": "ranks", "rank": 0, "world_size": 1}],
    ids=["private", "split", "rank"],
)
@pytest.mark.timeout(30)
def test_nobody_waits_at_the_end_of_an_epoch(monkeypatch: pytest.MonkeyPatch, membership: dict[str, Any]) -> None:
    """The members of a group go on when all is acknowledged: nothing else comes before that, at once or later."""
    monkeypatch.setattr(subscription, "_SOON_S", 20.0)
    flags = ("--sequence", "sources.counting:Counting", "--arg", "length=20", "--bind", "tcp://127.0.0.1:*")
    with Serving(*flags) as daemon:
        daemon.ready()
        with daemon.client(daemon.stats()["endpoints"][1], prefetch=16, **membership) as client:
            assert [int(number) for _, number in client.steps(100)] == [*range(20)] * 5
