"""The loop of the daemon beside ZeroMQ, whose descriptors tell only what nobody has looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from enqueued.server.endpoint import Endpoint
from enqueued.server.loop import Loop
from waiting import until


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """Sockets that do not linger."""
    with zmq.Context() as context:
        context.linger = 0
        yield context


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop of the test's own."""
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def lost() -> list[int]:
    """The connections that have ended."""
    return []


@pytest.fixture
def endpoint(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path, lost: list[int]) -> Iterator[Endpoint]:
    """A bound socket."""
    endpoint = Endpoint(context, f"ipc://{tmp_path}/d.sock", lost.append)
    yield endpoint
    endpoint.close()


@pytest.fixture
def peer(context: zmq.Context[zmq.Socket[bytes]], endpoint: Endpoint) -> Iterator[zmq.Socket[bytes]]:
    """Somebody who is connected to it."""
    with context.socket(zmq.DEALER) as peer:
        peer.connect(endpoint.address)
        yield peer


def test_what_came_while_nobody_waited_is_not_waited_for(
    loop: Loop, endpoint: Endpoint, peer: zmq.Socket[bytes]
) -> None:
    """Its descriptor is silent once ZeroMQ has looked at what has come, as it does when something is sent."""
    heard: list[bytes] = []
    endpoint.watch(loop, lambda: heard.extend(incoming.data for incoming in endpoint.receive()))
    peer.send(b"one")
    until(endpoint.is_readable, 10, "a message")
    assert loop.turn(10.0)
    assert heard == [b"one"]


def test_more_messages_than_are_read_at_once_are_all_read(
    loop: Loop, endpoint: Endpoint, peer: zmq.Socket[bytes]
) -> None:
    """Others get their turn in between, and nobody has to send again."""
    heard: list[bytes] = []
    endpoint.watch(loop, lambda: heard.extend(incoming.data for incoming in endpoint.receive()))
    for number in range(1000):
        peer.send(b"%d" % number)
    while len(heard) < 1000:
        assert loop.turn(10.0)
    assert heard == [b"%d" % number for number in range(1000)]


def test_the_end_of_a_connection_is_told_whenever_it_comes(
    loop: Loop, endpoint: Endpoint, peer: zmq.Socket[bytes], context: zmq.Context[zmq.Socket[bytes]], lost: list[int]
) -> None:
    """The first one and those after it."""
    senders: list[int] = []
    endpoint.watch(loop, lambda: senders.extend(incoming.connection for incoming in endpoint.receive()))
    for number in range(1, 4):
        with context.socket(zmq.DEALER) as another:
            another.connect(endpoint.address)
            another.send(b"here")
            while len(senders) < number:
                assert loop.turn(10.0)
        while len(lost) < number:
            assert loop.turn(10.0)
    assert lost == senders
