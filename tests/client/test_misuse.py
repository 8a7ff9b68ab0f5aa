"""A client where it does not belong."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import pytest

from enqueued.errors import ClientError, ConfigError
from enqueued.settings import resolve
from serving import Serving
from waiting import until


def test_two_threads_at_once_are_told(tmp_path: Path) -> None:
    """The second is told what to do, and the first gets its batch."""
    gate = tmp_path / "gate"
    flags = ("--sequence", "sources.sized:Gated", "--arg", f"gate={gate}")
    with Serving(*flags) as daemon, daemon.client() as client:
        batches = client.steps(1)
        taken: list[object] = []
        thread = threading.Thread(target=lambda: taken.extend(batches))
        thread.start()
        until(client._subscription._in_use.locked, 10, "the first thread waits")
        with pytest.raises(ClientError, match="two threads"):
            next(client.steps(1))
        gate.touch()
        thread.join(20)
        assert len(taken) == 1


def test_a_client_cannot_be_pickled() -> None:
    """As a multiprocessing loader would: the error says what to do instead."""
    with (
        Serving("--sequence", "sources.counting:Counting") as daemon,
        daemon.client() as client,
        pytest.raises(TypeError, match="make one in each process"),
    ):
        pickle.dumps(client)


def test_workers_of_a_generator_are_replicas() -> None:
    """A generator runs in one worker; more of them are asked for by another name."""
    with pytest.raises(ConfigError, match="--replicas N"):
        resolve({"generator": "mymod:make", "workers": "3"}, {})
