"""A daemon and a trainer, end to end."""

from __future__ import annotations

from serving import Serving, numbers

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
