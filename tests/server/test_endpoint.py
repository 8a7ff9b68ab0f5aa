"""The daemon's socket, and how long the memory of what it sends is in use."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import zmq

from enqueued.server.endpoint import Endpoint
from waiting import until

LARGE = 64 << 20
"""More than all buffers between two processes hold."""


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    """A bound socket."""
    with zmq.Context() as context:
        endpoint = Endpoint(context, f"ipc://{tmp_path}/d.sock", lambda connection: None)
        yield endpoint
        endpoint.close()


@pytest.fixture
def peer(endpoint: Endpoint) -> Iterator[zmq.Socket[bytes]]:
    """Somebody who is connected to it, and reads one message at a time."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        peer.linger = 0
        peer.rcvhwm = 1
        peer.connect(endpoint.address)
        peer.send(b"hello")
        yield peer


def name_of(endpoint: Endpoint) -> bytes:
    """Who has said hello."""
    until(endpoint.is_readable, 10, "a hello")
    (incoming,) = endpoint.receive()
    return incoming.peer


def test_memory_is_in_use_until_it_was_read(endpoint: Endpoint, peer: zmq.Socket[bytes]) -> None:
    """Of each message by itself; parts of one memory that were sent before do not count."""
    name, memory = name_of(endpoint), bytearray(LARGE)
    under_way = []
    for number in range(4):
        frames = [memoryview(memory)[:1000], memoryview(memory)]
        sent = endpoint.send(name, b"%d" % number, frames)
        assert sent is not None
        under_way.append(sent)
        del frames
    assert not under_way[-1].over
    for number, sent in enumerate(under_way):
        assert [len(part) for part in peer.recv_multipart()] == [1, 1000, LARGE]
        until(partial(getattr, sent, "over"), 10, f"message {number} is read")


def test_memory_is_given_back_when_nobody_reads_it(endpoint: Endpoint, peer: zmq.Socket[bytes]) -> None:
    """Whoever it was for is gone, and hears of nothing more."""
    name, memory = name_of(endpoint), bytearray(LARGE)
    frames = [memoryview(memory)]
    under_way = [endpoint.send(name, b"", frames) for _ in range(4)]
    del frames
    peer.close()

    def let_go() -> bool:
        endpoint.is_readable()  # as the loop asks in every turn
        return all(sent is not None and sent.over for sent in under_way)

    until(let_go, 10, "nobody holds it")
    until(lambda: endpoint.send(name, b"", [memoryview(memory)]) is None, 10, "the peer is not known any more")


def test_a_message_without_frames_holds_no_memory(endpoint: Endpoint, peer: zmq.Socket[bytes]) -> None:
    """It was copied."""
    sent = endpoint.send(name_of(endpoint), b"a word")
    assert sent is not None
    assert sent.over
    assert peer.recv_multipart() == [b"a word"]
