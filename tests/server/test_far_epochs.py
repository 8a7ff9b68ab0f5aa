"""Epochs far away, of a source with `on_epoch_end`: one process goes there, and only as long as somebody wants it."""

from __future__ import annotations

from pathlib import Path

import pytest

from enqueued.errors import BatchTimeout
from serving import Serving
from waiting import until

SHUFFLING = ("--sequence", "sources.pooled:SelfShuffling", "--workers", "2")


def names(daemon: Serving) -> list[str]:
    """The names of the daemon's processes."""
    return [path.read_text().strip() for pid in daemon.processes() if (path := Path(f"/proc/{pid}/comm")).exists()]


def test_a_far_epoch_is_what_many_small_steps_lead_to() -> None:
    """In one go from the first epoch, or one by one: the same batches."""
    with Serving(*SHUFFLING, "--max-generations", "2") as daemon:
        with daemon.client() as client:
            walked = [[batch.tolist() for batch in epoch] for epoch in client.epochs(7)]
        with daemon.client(fixed_epoch=6) as client:
            assert [batch.tolist() for batch in client] == walked[6]


def test_an_epoch_that_nobody_wants_any_more_is_not_gone_to() -> None:
    """A client that asks for an absurd epoch, and leaves, costs one process for a few seconds."""
    with Serving(*SHUFFLING) as daemon:
        daemon.ready()
        with daemon.client(fixed_epoch=10**8, batch_timeout=1.0) as client, pytest.raises(BatchTimeout):
            next(iter(client))
        assert len(names(daemon)) <= 5
        until(lambda: not any(name.startswith("enq-zygote-") for name in names(daemon)), 20, "its zygote is ended")
        with daemon.client() as client:
            assert len(list(client)) == len(client)


def test_many_short_epochs_one_after_another() -> None:
    """Each is forked from the last one: neither processes nor the depth of calls grow with their number."""
    with Serving(*SHUFFLING, "--arg", "length=2") as daemon, daemon.client() as client:
        for number, epoch in enumerate(client.epochs(260)):
            assert len(list(epoch)) == 2
            if number % 50 == 49:
                assert len(names(daemon)) <= 20
        until(lambda: len(names(daemon)) <= 10, 10)
        assert daemon.stream_stats()["worker_restarts"] == 0
