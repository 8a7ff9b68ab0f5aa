"""A daemon and those who mean it no good: it stays, ignores them, counts, and serves the others."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from enqueued.wire.hello import Claim, Hello
from enqueued.wire.messages import BATCHES, FROM_DAEMON, GONE, REFUSED, WELCOME, pack, unpack
from gate import Gate
from serving import Serving
from waiting import until

LARGE = ("--sequence", "sources.sized:Large", "--workers", "2", "--max-queue-size", "4", "--arg", "length=30")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Serving]:
    """One daemon for all of it; its memory is looked at in the end."""
    with Serving(*LARGE, "--bind", "tcp://127.0.0.1:*") as serving:
        serving.ready()
        for address in serving.stats()["endpoints"]:
            with serving.client(address) as client:
                list(client)
        before = serving.stats()["rss_bytes"]
        yield serving
        assert serving.stats()["rss_bytes"] - before < 10e6


@pytest.fixture(params=[0, 1], ids=["ipc", "tcp"])
def address(request: pytest.FixtureRequest, daemon: Serving) -> str:
    """Each of its addresses."""
    found: str = daemon.stats()["endpoints"][request.param]
    return found


@pytest.fixture(autouse=True)
def _serves_on(daemon: Serving) -> Iterator[None]:
    """A good client, which was there before, sees its whole epoch, and so does a new one."""
    with daemon.client() as client:
        taken = iter(client)
        first = [int(next(taken)[1]) for _ in range(3)]
        yield
        assert daemon.process.poll() is None, daemon.log
        assert first + [int(number) for _, number in taken] == list(range(30))
    with daemon.client() as client:
        assert [int(number) for _, number in client] == list(range(30))
    assert "Traceback" not in daemon.log


class Peer:
    """A DEALER that says what it likes."""

    def __init__(self, address: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 1000)
        self._socket.connect(address)

    def say(self, *frames: bytes) -> None:
        self._socket.send_multipart(frames)

    def hear(self, *verbs: str) -> list[Any]:
        """The fields of the next message with one of these verbs."""
        for _ in range(1000):
            assert self._socket.poll(10_000), f"no {verbs}"
            verb, fields = unpack(self._socket.recv_multipart()[0], FROM_DAEMON)
            if verb in verbs:
                return [verb, *fields]
        raise AssertionError(verbs)

    def session(self, token: bytes | None = None, **claim: Any) -> list[Any]:
        """Begin a session; the answer."""
        self.say(Hello(claim=Claim(**claim), token=token).pack())
        return self.hear(WELCOME, REFUSED, GONE)

    def close(self) -> None:
        self._socket.close()
        self._context.term()


@pytest.fixture
def peer(address: str) -> Iterator[Peer]:
    """A peer without a session."""
    found = Peer(address)
    yield found
    found.close()


def raw(address: str) -> socket.socket:
    """A bare connection to where ZeroMQ listens."""
    if address.startswith("ipc://"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(5)
        sock.connect(address.removeprefix("ipc://"))
        return sock
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)), 5)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00NULL" + bytes(48) + b"\x04\x26garbage" * 20,
        b"\x01\x00" + b"ZMTP 1.0 says hello" * 10,
        random.Random(5).randbytes(100_000),
        b"",
    ],
)
def test_what_is_not_zeromq_is_dropped(address: str, data: bytes) -> None:
    """Random bytes, HTTP, an old or a broken greeting."""
    socks = [raw(address) for _ in range(20)]
    for sock in socks:
        try:
            sock.sendall(data)
        except OSError:
            continue
    for sock in socks:
        sock.close()


def garbage() -> list[tuple[bytes, ...]]:
    """Messages that are none."""
    chance = random.Random(3)
    return [
        *[(chance.randbytes(chance.randint(0, 300)),) for _ in range(200)],
        *[(pack("TAKE", [], []), *[b"x"] * count) for count in (1, 5, 500)],
        *[(b"\x92\xa6CREDIT" + b"\x91" * depth + b"\x00",) for depth in (10, 900, 1000, 1020, 100_000)],
        *[(msgpack.packb([verb, *fields]),) for verb in ("TAKE", "SEEK", "CREDIT", "HELLO", "ASK", "BYE", "GONE")
          for fields in ([None], [1.5, 2], [[1], [[1]]], [-1, -1, -1], [{"a": 1}] * 3, ["x"])],
        (b"",), (b"", b""), (bytes(900_000),),
        (msgpack.packb(["CREDIT", 1 << 63]),), (msgpack.packb(["ASK", "x" * 60_000]),),
    ]  # fmt: skip


def test_garbage_without_a_session_is_counted(daemon: Serving, peer: Peer) -> None:
    """And nothing comes of it."""
    before = daemon.stats()["ignored"]
    for frames in garbage():
        peer.say(*frames)
    until(lambda: daemon.stats()["ignored"] > before + 200, 10, "it is counted")


def test_garbage_within_a_session_leaves_the_session(daemon: Serving, peer: Peer) -> None:
    """Leases that are none, runs without end, old generations: then the session goes on."""
    assert peer.session()[0] == WELCOME
    for frames in garbage():
        if b"BYE" not in frames[0] and b"HELLO" not in frames[0] and b"CREDIT" not in frames[0]:
            peer.say(*frames)
    huge = (1 << 62) - 1
    for runs in ([[0, huge]], [[huge, huge]], [[5, 7]] * 4000, [[0, huge]] * 4000, [[0, 0]], [[0, 1]] * 5000):
        peer.say(pack("TAKE", runs, runs))
    peer.say(pack("CREDIT", 2))
    _, items, _ = peer.hear(BATCHES)
    assert [item[4] for item in items] in ([0], [0, 1])
    peer.say(pack("SEEK", 5, 0, 20))
    peer.say(pack("SEEK", 5, 0, 3))
    peer.say(pack("SEEK", 4, 0, 3))
    while items[0][2] != 5:
        _, items, _ = peer.hear(BATCHES)
    assert items[0][3:5] == [0, 20]


@pytest.mark.parametrize("verb", ["TAKE", "SEEK", "CREDIT", "BYE"])
def test_without_a_session_there_is_nothing_to_say(daemon: Serving, peer: Peer, verb: str) -> None:
    """The daemon says that it knows none, and counts."""
    before = daemon.stats()["ignored"]
    peer.say(pack(verb, *{"TAKE": ([[0, 1]], []), "SEEK": (1, 0, 0), "CREDIT": (3,), "BYE": ()}[verb]))
    assert peer.hear(GONE)[1]
    assert daemon.stats()["ignored"] == before + 1


def test_positions_that_no_epoch_has_do_no_harm(daemon: Serving, address: str) -> None:
    """Beyond the end, or in an epoch that nobody will ever reach."""
    far = (1 << 62) - 1
    for start, verb in (
        ((0, far), WELCOME),
        ((7, far), WELCOME),
        ((0, far + 1), REFUSED),
        ((far, 0), REFUSED),
        ((1 << 32, 5), REFUSED),
        (((1 << 32) - 1, 5), WELCOME),
    ):
        peer = Peer(address)
        assert peer.session(start=start)[0] == verb
        peer.say(pack("CREDIT", 2))
        peer.say(pack("SEEK", 1, far, far))
        peer.say(pack("SEEK", 1, 9, far))
        peer.say(pack("SEEK", far, far, 0))
        assert daemon.stats()["clients"] >= 1
        peer.close()


def test_a_token_that_was_not_given_out_begins_no_session(peer: Peer) -> None:
    """A session is tied to a hand-off connection that is there; a client whose daemon was restarted tries again."""
    assert peer.session(token=b"x" * 16)[0] == GONE
    assert peer.session()[0] == WELCOME
    assert peer.session()[0] == WELCOME


def test_a_hello_that_is_said_again_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """Also of one that still waits: a peer has one session, and does not fill the places of others."""
    flags = ("--sequence", "sources.sized:gated_loading", "--arg", f"gate={tmp_path}/gate", "--max-clients", "2")
    with Gate(tmp_path / "gate") as gate, Serving(*flags) as daemon:
        until(lambda: Path(f"{daemon.folder}/d.sock.fds").exists(), 20, "the daemon listens")
        peer = Peer(daemon.endpoint)
        assert "3 ranks cannot all be here" in peer.session(group="crew", rank=0, world_size=3)[1]
        for _ in range(5):
            peer.say(Hello().pack())
        gate.open()
        assert peer.hear(WELCOME, REFUSED)[0] == WELCOME
        assert daemon.stats()["clients"] == 1
        peer.close()


def test_another_clients_leases_are_out_of_reach(daemon: Serving, peer: Peer) -> None:
    """A lease is a number of its own session."""
    with daemon.client(group="theirs", prefetch=3) as client:
        taken = client.batches()
        held = next(taken)
        verb, welcome = peer.session(group="theirs")
        assert verb == WELCOME
        peer.say(pack("TAKE", [[0, 10]], [[0, 10]]))
        peer.say(pack("SEEK", welcome["generation"] + 1, 0, 0))
        assert "cannot be moved" in peer.hear(REFUSED)[1]
        members = daemon.stream_stats()["groups"]
        leases = [m["leases"] for g in members if g["name"] == "theirs" for m in g["members"]]
        assert sum(leases) >= 1
        assert (held.data[0] == 0).all()


def hand_off(daemon: Serving) -> socket.socket:
    """A connection to the hand-off socket."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(5)
    try:
        sock.connect(f"{daemon.folder}/d.sock.fds")
    except OSError:
        sock.close()
        raise
    return sock


@pytest.mark.parametrize(
    "data",
    [b"x", b"\x00" * 256, b"\x91" * 256, bytes(10_000), msgpack.packb({"want": None}), msgpack.packb({"want": [1]}),
     msgpack.packb({"wish": 1}), msgpack.packb([1]), msgpack.packb({"want": {"a": [b"x"] * 20}}),
     b"\x81\xa4want" + b"\x91" * 200 + b"\x00"],
)  # fmt: skip
def test_garbage_at_the_hand_off_is_dropped(daemon: Serving, data: bytes) -> None:
    """Or answered with nothing."""
    with hand_off(daemon) as sock:
        assert msgpack.unpackb(sock.recv(256))["protocol"] == 1
        sock.send(data)
        try:
            answer = sock.recv(1024)
        except ConnectionResetError:
            answer = b""
        assert answer == b"" or msgpack.unpackb(answer)["gone"] is True


def test_a_segment_that_is_not_there_is_gone(daemon: Serving) -> None:
    """Whatever its number."""
    with hand_off(daemon) as sock:
        sock.recv(256)
        for number in (0, -1, (1 << 63) - 1, -(1 << 63), 12345):
            sock.send(msgpack.packb({"want": number}))
            assert msgpack.unpackb(sock.recv(256)) == {"segment": number, "gone": True}


def test_a_peer_that_does_not_read_is_dropped(daemon: Serving) -> None:
    """It asks and asks, until its buffer is full; descriptors that it sends go nowhere."""
    with hand_off(daemon) as sock, open("/proc/self/exe", "rb") as file:
        for _ in range(5):
            socket.send_fds(sock, [msgpack.packb({"want": 1})], [file.fileno()] * 5)
        with pytest.raises(OSError, match=r"Broken pipe|reset|timed out"):
            _ask_without_end(sock)


def _ask_without_end(sock: socket.socket) -> None:
    for _ in range(100_000):
        sock.send(msgpack.packb({"want": 1}))


def test_a_flood_of_connections_passes(daemon: Serving) -> None:
    """A thousand at the hand-off, some with a request, all gone again."""
    clients = daemon.stats()["clients"]
    for _ in range(10):
        socks: list[socket.socket] = []
        try:
            for number in range(100):
                socks.append(hand_off(daemon))
                if number % 3 == 0:
                    socks[-1].send(b"garbage")
        except OSError:
            pass
        for sock in socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
    assert daemon.stats()["clients"] == clients


def test_idle_connections_are_dropped_by_tcp(daemon: Serving) -> None:
    """Who does not even greet is not waited for."""
    address = daemon.stats()["endpoints"][1]
    socks = [raw(address) for _ in range(100)]

    until(lambda: all(_ended(sock) for sock in socks), 8, "all are closed")
    for sock in socks:
        sock.close()


def _ended(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        while sock.recv(1000):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
