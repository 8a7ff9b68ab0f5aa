"""A daemon and a trainer, end to end."""

from __future__ import annotations

import json

import pytest

from enqueued.errors import SourceError
from serving import Serving, numbers
from waiting import until

COUNTING = ("--sequence", "sources.counting:Counting")


def test_an_epoch_comes_whole_and_in_order() -> None:
    """Two workers make the batches, and the trainer sees each once, in order, epoch after epoch."""
    with Serving(*COUNTING, "--workers", "2") as daemon, daemon.client() as client:
        assert len(client) == 20
        for epoch in client.epochs(3):
            assert numbers(list(epoch)) == list(range(20))


def test_the_same_client_takes_frames_over_tcp() -> None:
    """Over tcp the same batches come as frames."""
    with Serving(*COUNTING, "--workers", "2", "--bind", "tcp://127.0.0.1:*") as daemon:
        daemon.ready()
        address = daemon.stats()["endpoints"][1]
        with daemon.client(address) as client:
            assert numbers(list(client)) == list(range(20))


def test_many_long_errors_come_one_after_another() -> None:
    """What a client is owed may be more text than one message holds."""
    at = json.dumps(list(range(60)))
    source = ("--sequence", "sources.sized:Failing", "--arg", "length=60", "--arg", f"at={at}", "--arg", "text=30000")
    with Serving(*source, "--max-queue-size", "100") as daemon:
        daemon.ready()
        until(lambda: daemon.stream_stats()["failed"] >= 60, 20)
        found = []
        with daemon.client(prefetch=100) as client:
            for _ in range(60):
                with pytest.raises(SourceError) as caught:
                    next(client.steps(1))
                found.append((caught.value.epoch, caught.value.index))
    assert found == [(0, index) for index in range(60)]
