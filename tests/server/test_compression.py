"""Frames over a slow line: compressed where the client reads that, and everything else as always."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from enqueued.wire.compression import Compressed
from fake_daemon import encoded
from serving import SUPPORT, Serving, run
from sources.sized import grainy
from throttle import Throttle
from trainer import Trainer
from waiting import until

BYTES = 200_000
LINE = 4e6
"""Bytes a second."""


def source(length: int, *flags: str) -> tuple[str, ...]:
    """Batches that become half as large."""
    arguments = ("--arg", f"length={length}", "--arg", f"nbytes={BYTES}", "--bind", "tcp://127.0.0.1:*")
    return ("--sequence", "sources.sized:Grainy", *arguments, "--workers", "2", *flags)


@contextmanager
def line(daemon: Serving) -> Iterator[Throttle]:
    """A slow line to a daemon."""
    with Throttle(daemon.ready().stats()["endpoints"][1], LINE) as throttle:
        yield throttle


def compression(daemon: Serving) -> float:
    """What the daemon says of its members, at most."""
    groups = daemon.stream_stats()["groups"]
    return max((member["compression"] for group in groups for member in group["members"]), default=0.0)


def take(batches: Iterator[Any], daemon: Serving, first: int = 0) -> int:
    """Take batches, which must be right, until frames are compressed; the number of the next one."""
    for index in range(first, first + 200):
        check(next(batches), index)
        if index % 4 == 0 and compression(daemon) > 1.5:
            return index + 1
    raise AssertionError("nothing is compressed")


def check(batch: Any, index: int) -> None:
    """A batch is the one of this number, byte for byte."""
    assert int(batch[1]) == index
    assert (batch[0] == grainy(index, BYTES)).all()
    batch[0][:] = 0  # it is the trainer's own


def test_an_epoch_over_a_slow_line_is_compressed(tmp_path: Path) -> None:
    """Every batch once, in order and the same; fewer bytes travel; the ledger says so, too."""
    ledger = tmp_path / "ledger.jsonl"
    with Serving(*source(150)) as daemon, line(daemon) as throttle:
        with daemon.client(throttle.endpoint, ledger=ledger) as client:
            batches = iter(client)
            begun = take(batches, daemon)
            rest = list(batches)
            for index, batch in enumerate(rest, begun):
                check(batch, index)
            assert begun + len(rest) == 150
            assert throttle.carried < 0.95 * BYTES * 150
        assert daemon.stats()["ignored"] == 0
    told = run("verify", "--complete", str(ledger))
    assert told.returncode == 0, told.stdout + told.stderr


def test_small_batches_that_travel_together_are_compressed_together() -> None:
    """Runs of them, each batch right."""
    small = ("--sequence", "sources.sized:Large", "--arg", "length=20000", "--arg", "nbytes=5000", "--workers", "2")
    with Serving(*small, "--max-queue-size", "500", "--bind", "tcp://127.0.0.1:*") as daemon, line(daemon) as throttle:
        with daemon.client(throttle.endpoint, prefetch=200) as client:
            found = 0
            for index, (data, number) in enumerate(client):
                assert int(number) == index
                assert (data == index % 251).all()
                found += 1
        assert found == 20_000
        assert throttle.carried < 0.5 * found * 5000


class Peer:
    """A client that says of itself what it likes."""

    def __init__(self, endpoint: str, **hello: Any) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.connect(endpoint)
        self._say("HELLO", {"protocol": 1, **hello})
        assert self._hear()[0][0] == "WELCOME"
        self._say("CREDIT", 3)

    def _say(self, *message: Any) -> None:
        self._socket.send(msgpack.packb(message))

    def _hear(self) -> tuple[list[Any], list[bytes]]:
        assert self._socket.poll(20_000), "the daemon says nothing"
        first, *frames = self._socket.recv_multipart()
        return msgpack.unpackb(first), frames

    def epoch(self) -> Iterator[tuple[list[Any], bytes]]:
        """Frame items and frames."""
        while True:
            message, frames = self._hear()
            for item in message[1] if message[0] == "BATCHES" else []:
                if item[0] == 3:
                    assert not frames
                    return
                yield item, frames.pop(0)
                self._say("TAKE", [[item[1], item[6]]], [])

    def close(self) -> None:
        """Leave without a word."""
        self._socket.close(0)
        self._context.term()


@pytest.mark.parametrize("hello", [{}, {"codecs": ["lz77", "snappy"]}], ids=["none", "others"])
def test_who_does_not_read_it_is_given_plain_frames(hello: dict[str, Any]) -> None:
    """As a client without the library is."""
    with Serving(*source(60)) as daemon, line(daemon) as throttle:
        peer = Peer(throttle.endpoint, **hello)
        taken = list(peer.epoch())
        peer.close()
        assert [item[4] for item, _ in taken] == list(range(60))
        assert all(len(item) == 8 and len(frame) > BYTES for item, frame in taken)


def test_a_stranger_reads_what_it_said_that_it_reads() -> None:
    """The two elements more that an item then has; a frame decompresses to the bytes that a plain one has."""
    with Serving(*source(400)) as daemon, line(daemon) as throttle:
        peer = Peer(throttle.endpoint, codecs=["zstd", "one of the future"])
        smaller = 0
        for index, (item, frame) in enumerate(peer.epoch()):
            expected = encoded((grainy(index, BYTES), np.int64(index)))
            if len(item) > 8:
                assert item[8:] == ["zstd", len(expected)]
                frame = bytes(Compressed(memoryview(frame), *item[8:]).buffer)
                smaller += 1
            assert frame == expected
            if smaller == 20:
                break
        peer.close()
        assert smaller == 20


@pytest.mark.parametrize("codecs", ["zstd", [7], ["zstd"] * 17, {"zstd": 1}], ids=range(4))
def test_a_false_list_is_refused(codecs: Any) -> None:
    """As everything that is false in a HELLO."""
    with Serving(*source(5)) as daemon:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        with context.socket(zmq.DEALER) as dealer:
            dealer.connect(daemon.ready().stats()["endpoints"][1])
            dealer.send(msgpack.packb(["HELLO", {"protocol": 1, "codecs": codecs}]))
            assert dealer.poll(20_000)
            verb, reason = msgpack.unpackb(dealer.recv())
            assert verb == "REFUSED"
            assert "codecs" in reason
        context.term()


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there the library is Python's own")
def test_a_daemon_without_the_library_sends_plain_frames(tmp_path: Path) -> None:
    """All is as before; the client has it and says so."""
    (tmp_path / "backports").mkdir()
    (tmp_path / "backports" / "__init__.py").write_text("raise ImportError('hidden')")
    environ = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(SUPPORT), os.environ.get("PYTHONPATH", "")])}
    with Serving(*source(60), environ=environ) as daemon, line(daemon) as throttle:
        with daemon.client(throttle.endpoint) as client:
            for index, batch in enumerate(client):
                check(batch, index)
        assert throttle.carried > 60 * BYTES


def test_a_cut_line_costs_nothing(tmp_path: Path) -> None:
    """The client comes back, and goes on with the position that it was at."""
    ledger = tmp_path / "ledger.jsonl"
    with (
        Serving(*source(200)) as daemon,
        line(daemon) as throttle,
    ):
        with daemon.client(throttle.endpoint, ledger=ledger) as client:
            batches, taken = iter(client), 0
            for _ in range(2):
                taken = take(batches, daemon, taken)
                throttle.cut()
            rest = list(batches)
            for index, batch in enumerate(rest, taken):
                check(batch, index)
            assert taken + len(rest) == 200
        told = run("verify", "--complete", str(ledger))
    assert told.returncode == 0, told.stdout + told.stderr


def test_what_a_killed_member_was_sent_goes_to_another(tmp_path: Path) -> None:
    """Its frames were being compressed, or were under way: the ledgers of both have each position once."""
    ledgers = [str(tmp_path / name) for name in ("ours", "theirs")]
    with Serving(*source(150)) as daemon, line(daemon) as throttle, Trainer() as trainer:
        trainer(f"client = Client({throttle.endpoint!r}, group='g', prefetch=6, ledger={ledgers[1]!r})")
        trainer("batches = iter(client)")
        with daemon.client(throttle.endpoint, group="g", ledger=ledgers[0]) as client:
            ours = iter(client)
            while compression(daemon) < 1.5:
                trainer("batch = next(batches)")
                batch = next(ours)
                check(batch, int(batch[1]))
            trainer.kill()
            for batch in ours:
                check(batch, int(batch[1]))
    told = run("verify", "--complete", *ledgers)
    assert told.returncode == 0, told.stdout + told.stderr


def test_leaving_in_the_midst_gives_every_slot_back() -> None:
    """Clients come and go while their frames are compressed, and the few slots that there are serve the next one."""
    with Serving(*source(400, "--max-queue-size", "2")) as daemon, line(daemon) as throttle:
        for _ in range(3):
            with daemon.client(throttle.endpoint) as client:
                take(iter(client), daemon)
        with daemon.client() as client:
            for index, batch in zip(range(100), client, strict=False):
                check(batch, index)
        until(lambda: daemon.stream_stats()["groups"] == [])


def test_another_epoch_begins_in_the_midst() -> None:
    """What was compressed for the one before is not taken for the new one's."""
    with Serving(*source(300)) as daemon, line(daemon) as throttle, daemon.client(throttle.endpoint) as client:
        take(iter(client), daemon)
        for epoch in (1, 2):
            batches = iter(client)
            for index in range(10):
                check(next(batches), index)
            assert client.epoch == epoch


def test_a_daemon_that_is_stopped_in_the_midst_leaves_nothing() -> None:
    """Its threads end, and what they read is let go; `Serving` looks for what is left."""
    with Serving(*source(400)) as daemon, line(daemon) as throttle, Trainer() as trainer:
        trainer(f"client = Client({throttle.endpoint!r}, prefetch=8, connect_timeout=0.5)")
        trainer("batches = iter(client)")

        def on() -> bool:
            trainer("batch = next(batches)")
            return compression(daemon) > 1.5

        until(on, 20)
        trainer.tell("[None for _ in batches]")
        assert daemon.stop() == 0
        assert trainer.answer()[0] == "ConnectTimeout"
