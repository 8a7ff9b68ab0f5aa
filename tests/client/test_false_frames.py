"""Compressed frames that are none: the client raises an error of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from enqueued import Client
from enqueued.errors import ProtocolError
from enqueued.wire.compression import compress
from fake_daemon import FakeDaemon, encoded, honest

BATCH = encoded(np.arange(20_000))
SMALLER = compress(memoryview(BATCH)) or b""


def client_of(daemon: FakeDaemon) -> Client:
    """A client that does not wait for long."""
    return Client(daemon.endpoint, connect_timeout=1.0, batch_timeout=0.5)


def giving(frame: bytes, *more: Any) -> Any:
    """Sends one frame, compressed as `more` says."""

    def reply(daemon: FakeDaemon, message: list[Any]) -> None:
        daemon.send("BATCHES", [[1, 0, 0, 0, 0, 0, 1, 0, *more]], [], frames=(frame,))

    return reply


def taken(frame: bytes, *more: Any) -> Any:
    """What a client takes of it."""
    with FakeDaemon(giving(frame, *more), welcome=honest()) as daemon, client_of(daemon) as client:
        return next(iter(client))


def test_the_fake_daemon_can_compress() -> None:
    """So that the lies below are what matters. The array is the trainer's own; what is said besides is ignored."""
    for more in (("zstd", len(BATCH)), ("zstd", len(BATCH), "and more")):
        batch = taken(SMALLER, *more)
        assert (batch == np.arange(20_000)).all()
        batch += 1
    assert (taken(BATCH, "zstd") == np.arange(20_000)).all()


@pytest.mark.parametrize(
    "more",
    [("lz4", len(BATCH)), (None, len(BATCH)), ([], len(BATCH)), ("zstd", len(BATCH) - 1), ("zstd", len(BATCH) + 1),
     ("zstd", 0), ("zstd", -1), ("zstd", "7"), ("zstd", None), ("zstd", 1 << 62), ("zstd", 65 << 20)],
)  # fmt: skip
def test_a_frame_that_is_not_what_it_says_is_a_protocol_error(more: tuple[Any, ...]) -> None:
    """Another way, another size."""
    with pytest.raises(ProtocolError):
        taken(SMALLER, *more)


@pytest.mark.parametrize("frame", [SMALLER[:-1], SMALLER + b"\0", SMALLER * 2, BATCH, b"", b"\0" * 5000], ids=range(6))
def test_a_damaged_frame_is_a_protocol_error(frame: bytes) -> None:
    """Also one that is plain, or nothing."""
    with pytest.raises(ProtocolError):
        taken(frame, "zstd", len(BATCH))


def test_a_run_that_is_compressed_is_checked_like_any_other() -> None:
    """Its batches must lie in it."""
    step = -(-len(BATCH) // 4096) * 4096
    run = compress(memoryview(BATCH.ljust(step, b"\0") + BATCH)) or b""

    def reply(daemon: FakeDaemon, message: list[Any]) -> None:
        item = [1, 0, 0, 0, 0, 0, count, step, "zstd", step + len(BATCH)]
        daemon.send("BATCHES", [item], [], frames=(run,))

    for count in (2, 3):
        with FakeDaemon(reply, welcome=honest()) as daemon, client_of(daemon) as client:
            batches = iter(client)
            if count == 3:
                with pytest.raises(ProtocolError):
                    next(batches)
            else:
                assert all((next(batches) == np.arange(20_000)).all() for _ in range(2))
