"""Runs that are none: the client raises an error of its own, and goes on behind them where it can."""

from __future__ import annotations

import contextlib
import gc
import itertools
from typing import Any

import numpy as np
import pytest

from enqueued.errors import EnqueuedError, ProtocolError
from fake_daemon import FakeDaemon, encoded, honest
from run_items import Runs, batch, client_of, giving, laid_out, told
from waiting import until

WAYS = pytest.mark.parametrize("frames", [False, True], ids=["ticket", "frame"])
TICKET = {"segment": 1, "offset": 0, "nbytes": 500, "count": 4, "step": 512}


def false(**changes: int) -> list[int]:
    """A ticket of a run in a segment of 1 MiB, false in what is told."""
    told = TICKET | changes
    return [0, 0, 0, 0, 0, 0, *(told[name] for name in ("segment", "offset", "nbytes", "count", "step"))]


@pytest.mark.parametrize(
    "item",
    [
        false(count=0),
        false(count=65),
        false(count=-1),
        false(count=1 << 40),
        false(step=0),
        false(step=1),
        false(step=499),
        false(step=-512),
        false(step=1 << 20),
        false(step=(1 << 63) - 1),
        false(step=(1 << 63) - 1, count=64),
        false(count=64, step=16_700),
        false(offset=(1 << 20) - 3 * 512),
        false(offset=(1 << 20) - 3 * 512 - 499),
        false(offset=(1 << 63) - 1),
        false(nbytes=0),
        false(nbytes=1),
        false(nbytes=70_000, step=70_016, count=16),
        false(segment=2),
        false(offset=8),
        false()[:9],
        false()[:10],
    ],
)
def test_a_false_run_is_a_protocol_error(item: list[int]) -> None:
    """Bytes outside the segment, batches that would lie in each other, more than may travel together, or none."""
    root = encoded(np.arange(100, dtype="u1"))
    assert len(root) < 499

    def reply(daemon: FakeDaemon, message: list[Any]) -> None:
        daemon.send("BATCHES", [item], [])

    with FakeDaemon(reply, welcome=honest()) as daemon:
        daemon.put(1, root.ljust(512, b"\0") * 4)
        with client_of(daemon, batch_timeout=0.5) as client, pytest.raises(ProtocolError):
            next(iter(client))


@pytest.mark.parametrize(
    ("count", "step", "cut"),
    [(0, 512, 0), (65, 512, 0), (4, 0, 0), (4, 511, 0), (4, 513, 0), (5, 512, 0), (3, 512, 0), (4, 512, 1),
     (4, 512, 512), (4, 512, 2048), (64, 512, 0), (64, (1 << 63) - 1, 0), (2, 1 << 62, 0), (1, 512, 2048)],
)  # fmt: skip
def test_a_frame_that_is_no_run_is_a_protocol_error(count: int, step: int, cut: int) -> None:
    """Too short or too long for what it is said to hold."""
    whole = encoded(np.arange(100, dtype="u1")).ljust(512, b"\0") * 3 + encoded(np.arange(100, dtype="u1"))

    def reply(daemon: FakeDaemon, message: list[Any]) -> None:
        daemon.send("BATCHES", [[1, 0, 0, 0, 0, 0, count, step]], [], frames=(whole[: max(0, len(whole) - cut)],))

    with (
        FakeDaemon(reply, welcome=honest(length=100)) as daemon,
        client_of(daemon, batch_timeout=0.5) as client,
        pytest.raises(ProtocolError),
    ):
        list(itertools.islice(client, count + 1))  # the first ones may lie there


@WAYS
@pytest.mark.parametrize("step", [0, 1, 64, (1 << 63) - 1])
@pytest.mark.parametrize("data", [np.arange(5), np.array(5), "text"], ids=range(3))
def test_how_far_apart_a_single_batch_lies_from_nothing_is_nobodys_business(data: Any, step: int, frames: bool) -> None:
    """A step says something between two batches only."""
    root = encoded(data)
    head = [0, 0, 0, 0, 0]
    item = [1, *head, 1, step] if frames else [0, *head, 1, 0, len(root), 1, step]

    def reply(daemon: FakeDaemon, message: list[Any]) -> None:
        daemon.send("BATCHES", [item], [], frames=(root,) * frames)

    with FakeDaemon(reply, welcome=honest()) as daemon:
        daemon.put(1, root)
        with client_of(daemon) as client:
            assert np.array_equal(next(iter(client)), data)


@WAYS
def test_a_spoilt_batch_spoils_no_other(frames: bool) -> None:
    """Only the batch that is spoilt is an error; it is acknowledged and given back as others are."""

    def send(runs: Runs) -> None:
        whole, nbytes, step = laid_out([batch(index) for index in range(3)])
        spoilt = bytearray(whole)
        spoilt[step + 8] ^= 0xFF
        head = [0, 0, 0, 0, 0]
        runs.daemon.put(99, bytes(spoilt))
        item = [1, *head, 3, step] if frames else [0, *head, 99, 0, nbytes, 3, step]
        runs.lease = 3
        runs.daemon.send("BATCHES", [item], [], frames=(bytes(spoilt),) * frames)
        runs.add(3, [batch(3), batch(4)])
        runs.send([3, 0, 0, 5])

    with FakeDaemon(giving(send, frames), welcome=honest(length=5)) as daemon:
        with client_of(daemon) as client:
            taken, found, errors = iter(client), [], 0
            for _ in range(5):
                try:
                    found.append(int(next(taken)[0][0]))
                except ProtocolError:
                    errors += 1
            assert list(taken) == []
            assert errors == 1
            assert found == [0, 2, 3, 4]
            assert len(daemon.hellos) == 1
        until(lambda: ["BYE"] in daemon.heard)
        assert told(daemon, 1) == list(range(5))
        assert told(daemon, 2) == ([] if frames else list(range(5)))


def test_a_spoilt_batch_does_not_keep_its_client() -> None:
    """Once the error is dealt with, a client that is dropped departs, without the garbage collector's help."""

    def reply(daemon: FakeDaemon, message: list[Any]) -> None:
        daemon.send("BATCHES", [[1, 0, 0, 0, 0, 0, 1, 64]], [], frames=(b"x" * 100,))

    with FakeDaemon(reply, welcome=honest()) as daemon:
        client = client_of(daemon)
        gc.collect()
        gc.disable()
        try:
            with contextlib.suppress(ProtocolError):
                next(iter(client))
            del client
            until(lambda: ["BYE"] in daemon.heard)
        finally:
            gc.enable()


def test_other_nonsense_about_runs_ends_in_an_error() -> None:
    """Runs that overlap, leases that go back, positions that do not follow."""
    root = encoded(np.arange(100, dtype="u1"))
    head = [0, 0, 0, 0]
    for items in (
        [[0, *head, 3, 0, 1, 0, 500, 4, 512]],
        [[0, *head, 0, 0, 1, 0, 500, 4, 512], [0, 2, 0, 0, 3, 0, 1, 0, 500, 4, 512]],
        [[0, *head, 0, 0, 1, 0, 500, 64, 512], [4, 0]],
    ):

        def reply(daemon: FakeDaemon, message: list[Any], items: list[Any] = items) -> None:
            daemon.send("BATCHES", items, [])

        with FakeDaemon(reply, welcome=honest(length=100)) as daemon:
            daemon.put(1, root.ljust(512, b"\0") * 4)
            with client_of(daemon, batch_timeout=0.5) as client, pytest.raises(EnqueuedError):
                for _ in zip(range(90), client, strict=False):
                    pass
