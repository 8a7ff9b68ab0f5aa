"""A client where it does not belong."""

from __future__ import annotations

import pickle
import signal
import threading
from pathlib import Path

import pytest

from enqueued.errors import ClientError, ConfigError
from enqueued.settings import resolve
from gate import Gate
from serving import Serving
from waiting import until


def test_two_threads_at_once_are_told(tmp_path: Path) -> None:
    """The second is told what to do, and the first gets its batch."""
    flags = ("--sequence", "sources.sized:Gated", "--arg", f"gate={tmp_path}/gate", "--arg", "free=1")
    with Gate(tmp_path / "gate") as gate, Serving(*flags) as daemon, daemon.client() as client:
        state = client.state_dict()
        next(client.steps(1))
        batches = client.steps(1)
        taken: list[object] = []
        thread = threading.Thread(target=lambda: taken.extend(batches))
        thread.start()
        until(lambda: repr(client._subscription._in_use).startswith("<locked"), 10, "the first thread waits")
        for use in (
            lambda: next(client.steps(1)),
            client.stats,
            lambda: client.load_state_dict(state),
        ):
            with pytest.raises(ClientError, match="two threads"):
                use()
        gate.open()
        thread.join(20)
        assert len(taken) == 1


def test_a_signals_handler_may_ask_in_the_midst_of_a_batch(tmp_path: Path) -> None:
    """What a cluster's notice to stop leads to: the state is saved, and the batch that was waited for still comes."""
    flags = ("--sequence", "sources.sized:Gated", "--arg", f"gate={tmp_path}/gate", "--arg", "free=1")
    with Gate(tmp_path / "gate") as gate, Serving(*flags) as daemon, daemon.client() as client:
        told: list[object] = []

        def stop(number: int, frame: object) -> None:
            told.extend((client.state_dict()["index"], client.stats()["clients"]))
            gate.open()

        before = signal.signal(signal.SIGUSR1, stop)
        timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGUSR1])
        try:
            timer.start()
            assert [int(number) for _, number in client.steps(4)] == [0, 1, 2, 3]
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, before)
        assert told == [1, 1]


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
