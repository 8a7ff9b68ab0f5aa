"""A daemon that lies: the client raises an error of its own, and neither crashes nor hangs."""

from __future__ import annotations

import fcntl
import os
import random
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest

from enqueued import Client
from enqueued.arena.segment import SEALS
from enqueued.errors import BatchTimeout, ClientError, EnqueuedError, ProtocolError, RankLost, Refused, SourceError
from fake_daemon import WELCOME, FakeDaemon, big, encoded, frames
from waiting import until


def client_of(daemon: FakeDaemon) -> Client:
    """A client that does not wait for long."""
    return Client(daemon.endpoint, connect_timeout=1.0, batch_timeout=0.5)


def ticket(lease: int = 0, index: int = 0, segment: int = 1, offset: int = 0, nbytes: int | None = None) -> list[int]:
    """A ticket, honest unless told otherwise."""
    return [0, lease, 0, 0, index, 0, segment, offset, len(big()) if nbytes is None else nbytes, 1, 1 << 17]


def giving(*messages: tuple[Any, ...], frames: tuple[bytes, ...] = ()) -> Callable[[FakeDaemon, list[Any]], None]:
    """Sends these when there is credit."""

    def reply(daemon: FakeDaemon, message: list[Any]) -> None:
        for one in messages:
            daemon.send(*one, frames=frames)

    return reply


def test_the_fake_daemon_can_be_honest() -> None:
    """So that the lies below are what matters: a view, a frame, an error, the end."""
    items = [ticket(), *frames((0, 1), lease=1), [2, 2, 0, 0, 2, 0, {"message": "no"}], [3, 0, 0, 3], [4, 0]]
    frame = encoded((np.arange(3), "x"))
    with FakeDaemon(giving(("BATCHES", items, []), frames=(frame,))) as daemon:
        daemon.put(1, big())
        with client_of(daemon) as client:
            taken = iter(client)
            assert (next(taken) == 7).all()
            array, text = next(taken)
            assert (array.tolist(), text) == ([0, 1, 2], "x")
            with pytest.raises(SourceError, match="no"):
                next(taken)
            assert list(taken) == []
            assert list(client) == []
        until(lambda: ["BYE"] in daemon.heard)
        done = [run for message in daemon.heard if message[0] == "TAKE" for run in message[1]]
        assert sum(count for _, count in done) == 3


@pytest.mark.parametrize(
    "item",
    [
        ticket(offset=1 << 20),
        ticket(offset=(1 << 20) - 1),
        ticket(nbytes=(1 << 20) + 1),
        ticket(offset=(1 << 63) - 1, nbytes=(1 << 63) - 1),
        ticket(offset=-64),
        ticket(nbytes=0),
        ticket(nbytes=5),
        ticket(nbytes=1000),
        ticket(offset=64),
        ticket(offset=200_000),
        ticket(segment=2),
        ticket(segment=(1 << 63) - 1),
        ticket(segment=-1),
        [0],
        [9, 0, 0],
        [1, 0, 0, 0, 0, 0, 1, 64],
        ["0", 1],
        None,
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    ],
)
def test_a_false_item_is_a_protocol_error(item: Any) -> None:
    """Bytes outside the segment, segments that are none, frames that do not come."""
    with FakeDaemon(giving(("BATCHES", [item], []))) as daemon:
        daemon.put(1, big())
        with client_of(daemon) as client, pytest.raises(ProtocolError):
            next(iter(client))


def unsealed(number: int) -> tuple[Any, list[int]]:
    fd = os.memfd_create("bare", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 1 << 20)
    return {"segment": number, "size": 1 << 20}, [fd]


def regular(number: int) -> tuple[Any, list[int]]:
    fd = os.open("/proc/self/exe", os.O_RDONLY)
    return {"segment": number, "size": os.fstat(fd).st_size}, [fd]


def sealed(number: int, size: int) -> tuple[Any, list[int]]:
    fd = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 1 << 20)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return {"segment": number, "size": size}, [fd]


@pytest.mark.parametrize(
    "hand_over",
    [
        unsealed,
        regular,
        lambda n: sealed(n, 1 << 21),
        lambda n: sealed(n, 4096),
        lambda n: sealed(n, -1),
        lambda n: sealed(n, 1 << 62),
        lambda n: ({"segment": n, "size": "1"}, sealed(n, 1)[1]),
        lambda n: ({"segment": n + 1, "size": 1 << 20}, sealed(n, 1)[1]),
        lambda n: ({"segment": n, "size": 1 << 20}, []),
        lambda n: ({"segment": n, "size": 1 << 20}, sealed(n, 1)[1] * 2),
        lambda n: ({"segment": n, "size": 1 << 20}, sealed(n, 1)[1] * 20),
        lambda n: (b"\xc1 nonsense", sealed(n, 1)[1]),
        lambda n: ([1, 2], []),
        lambda n: ({"segment": n, "gone": True}, []),
        lambda n: sealed(n, 1 << 20),
    ],
)
def test_a_false_segment_is_a_protocol_error(hand_over: Callable[[int], tuple[Any, list[int]]]) -> None:
    """Not sealed, no memory file, of another size, too many descriptors; the last one is all zeros. None stays open."""
    ours: list[int] = []

    def noting(number: int) -> tuple[Any, list[int]]:
        message, fds = hand_over(number)
        ours.extend(set(fds))
        return message, fds

    with FakeDaemon(giving(("BATCHES", [ticket()], [])), hand_over=noting) as daemon:
        with client_of(daemon) as client:
            before = _memory_files()
            with pytest.raises(ProtocolError):
                next(iter(client))
        until(lambda: len(ours) >= _memory_files() - before)
        for fd in ours:
            os.close(fd)
        assert _memory_files() <= before


def _memory_files() -> int:
    names = []
    for name in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return sum(("memfd:bare" in name) or ("memfd:sealed" in name) for name in names)


def test_a_daemon_that_hands_nothing_over_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some time-outs, not never."""
    monkeypatch.setattr("enqueued.client.handoff._ANSWER_S", 0.01)
    monkeypatch.setattr("enqueued.client.membership._MOST_LOSSES", 5)
    with (
        FakeDaemon(giving(("BATCHES", [ticket()], [])), hand_over=lambda number: None) as daemon,
        client_of(daemon) as client,
        pytest.raises(ClientError, match="lost 5 times"),
    ):
        next(iter(client))


def test_a_daemon_that_only_says_goodbye_is_given_up() -> None:
    """A session that is over as soon as it begins, again and again."""
    with (
        FakeDaemon(giving(("GONE", "no"))) as daemon,
        client_of(daemon) as client,
        pytest.raises(ClientError, match="lost 20 times"),
    ):
        next(iter(client))


def test_batches_out_of_order_are_no_batches() -> None:
    """A private client of an indexed source knows which one is next."""
    with (
        FakeDaemon(giving(("BATCHES", [ticket(), ticket(1, 2)], []))) as daemon,
        client_of(daemon) as client,
    ):
        daemon.put(1, big())
        taken = iter(client)
        next(taken)
        with pytest.raises(ProtocolError, match="begins at 0:0 where 0:1 was asked for"):
            list(taken)


def test_a_lease_that_comes_twice_is_a_protocol_error() -> None:
    """While the first one is in the trainer's hands."""
    with (
        FakeDaemon(giving(("BATCHES", [ticket(), ticket(0, 1)], []))) as daemon,
        client_of(daemon) as client,
    ):
        daemon.put(1, big())
        taken = iter(client)
        kept = next(taken)
        with pytest.raises(ProtocolError, match="alive"):
            next(taken)
        assert (kept == 7).all()


@pytest.mark.parametrize(
    "welcome",
    [{}, [], None, {**WELCOME, "epoch": "0"}, {**WELCOME, "index": -1}, {**WELCOME, "length": []},
     {**WELCOME, "stream": 5}, {**WELCOME, "credit_limit": None}, {**WELCOME, "indexed": None}],
)  # fmt: skip
def test_a_false_welcome_is_a_protocol_error(welcome: Any) -> None:
    """All that the client relies on is looked at."""
    with FakeDaemon(welcome=welcome) as daemon, pytest.raises(ProtocolError):
        client_of(daemon)


@pytest.mark.parametrize(
    "first", [b"\xc1", msgpack.packb([1]), msgpack.packb({}), msgpack.packb({"token": "text", "protocol": 1}),
              msgpack.packb({"token": b"x", "protocol": 2}), b"\x91" * 250]
)  # fmt: skip
def test_a_false_hand_off_is_a_protocol_error(first: bytes) -> None:
    """Also of another protocol, which is named."""
    with FakeDaemon(first=first) as daemon, pytest.raises(ProtocolError):
        client_of(daemon)


def test_a_refusal_in_the_midst_is_raised() -> None:
    """Not waited over."""
    with (
        FakeDaemon(giving(("REFUSED", "enough"))) as daemon,
        client_of(daemon) as client,
        pytest.raises(Refused, match="enough"),
    ):
        next(iter(client))


@pytest.mark.parametrize("answer", [5, "text", [], {}, b"", b"x" * 100, {"a": 1}, None])
def test_a_false_answer_is_an_error(answer: Any) -> None:
    """To any question."""
    answers = {"spec": answer, "waiting": answer}
    with FakeDaemon(answers=answers) as daemon, client_of(daemon) as client:
        with pytest.raises(EnqueuedError):
            client.spec  # noqa: B018 - asking is the point
        with pytest.raises(BatchTimeout):
            next(iter(client))
        if not isinstance(answer, dict):
            daemon.answers["stats"] = answer
            with pytest.raises(ClientError, match="does not answer"):
                client.stats()


@pytest.mark.parametrize(
    "answer",
    [
        5,
        "text",
        [None],
        ["3"],
        {"epoch": 1},
        {"epoch": 0, "index": -1, "missing": []},
        {"epoch": 0, "index": 1, "missing": [[1]]},
        {"epoch": 0, "index": 1, "missing": 5},
    ],
)
def test_a_false_answer_about_the_group_is_an_error(answer: Any) -> None:
    """Who is missing, where it stands, and what its first batch is."""
    with FakeDaemon(answers={"missing": answer, "group": answer, "canary": answer}) as daemon:
        with Client(daemon.endpoint, batch_timeout=0.2, rank=0, world_size=2) as rank, pytest.raises(BatchTimeout):
            next(iter(rank))
        with (
            Client(daemon.endpoint, batch_timeout=0.2, group="g") as member,
            pytest.raises(ClientError, match="stands"),
        ):
            member.state_dict()
        if not isinstance(answer, str):
            with client_of(daemon) as client, pytest.raises(ClientError, match="has not made batch 0:0 again"):
                client.state_dict()


def test_a_fingerprint_that_is_not_plain_is_an_error() -> None:
    """Nobody could save it."""
    for odd in (b"bytes", [b"bytes"]):
        with (
            FakeDaemon(welcome={**WELCOME, "fingerprint": {"seed": odd}}, answers={"canary": "00"}) as daemon,
            client_of(daemon) as client,
            pytest.raises(ProtocolError, match="no plain data"),
        ):
            client.state_dict()


@pytest.mark.parametrize("ranks", [[1], [3, 5], list(range(1, 1000))])
def test_ranks_that_are_missing_are_named(
    ranks: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log when it takes long, and in the error; not all of very many."""
    monkeypatch.setattr("enqueued.client.patience._TELL_S", 0.05)
    monkeypatch.setattr("enqueued.client.patience._SLICE_S", 0.02)
    with (
        FakeDaemon(answers={"missing": ranks}) as daemon,
        Client(daemon.endpoint, batch_timeout=0.2, rank=0, world_size=1000) as client,
        pytest.raises(RankLost, match=r"of group 'ranks' ha(s|ve) not joined yet") as caught,
    ):
        next(iter(client))
    assert caught.value.ranks == tuple(ranks)
    assert len(str(caught.value)) < 300
    assert any(record.message.endswith(str(caught.value)) for record in caplog.records)


@pytest.mark.parametrize(
    "message",
    [("BATCHES", 1, 2), ("BATCHES", [], [None, "x", [], -1, 1 << 63]), ("NONSENSE",), ("HELLO", {}), ("BATCHES", []),
     ("ANSWER", "unasked", 1), ("LOADING", "again"), ("WELCOME", WELCOME), ("BATCHES", [[3, 5, 0, 9]], [])],
)  # fmt: skip
def test_other_nonsense_ends_in_an_error(message: tuple[Any, ...]) -> None:
    """At the latest when no batch has come in time."""
    with FakeDaemon(giving(message)) as daemon, client_of(daemon) as client, pytest.raises(EnqueuedError):
        next(iter(client))


def test_frames_that_were_spoilt_are_errors_or_other_batches() -> None:
    """Thousands of them, each an encoded batch with some bytes changed; nothing is read outside."""
    chance = random.Random(7)
    good = encoded((np.arange(50, dtype="<f4"), {"text": "abc", "more": np.ones((2, 3), ">i2")}, b"x" * 50))
    spoilt = []
    for _ in range(500):
        data = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data) if chance.random() < 0.3 else 150)] = chance.randrange(256)
        spoilt.append(bytes(data[: chance.choice((len(data), len(data), chance.randrange(len(data))))]))

    def reply(daemon: FakeDaemon, message: list[Any]) -> None:
        for index, frame in enumerate(spoilt):
            daemon.send("BATCHES", frames((0, index), lease=index), [], frames=(frame,))

    with FakeDaemon(reply, welcome={**WELCOME, "length": 500}) as daemon, client_of(daemon) as client:
        taken, refused = iter(client), 0
        for _ in spoilt:
            try:
                repr(next(taken))
            except ProtocolError:
                refused += 1
        assert refused > 100


def test_messages_that_were_spoilt_end_in_an_error() -> None:
    """Any bytes at all in the place of a message."""
    chance = random.Random(8)
    for _ in range(20):
        data = [chance.randbytes(chance.randint(0, 100)) for _ in range(3)]
        data.append(b"\x92\xa6ANSWER" + b"\x91" * chance.randint(1, 1023) + b"\x00")
        frames = chance.sample(data, 2)

        def reply(daemon: FakeDaemon, message: list[Any], frames: list[bytes] = frames) -> None:
            daemon.send_raw(*frames)

        with FakeDaemon(reply) as daemon, client_of(daemon) as client, pytest.raises(EnqueuedError):
            next(iter(client))


def test_what_a_seek_made_stale_is_given_back_before_waiting() -> None:
    """Its memory may be just what the daemon waits for before it gives anything new."""
    stale = [ticket(lease, lease) for lease in range(3)]
    with FakeDaemon(giving(("BATCHES", stale, []))) as daemon:
        daemon.put(1, big())
        with client_of(daemon) as client:
            next(iter(client))
            with pytest.raises(BatchTimeout):
                next(iter(client))
        released = [run for message in daemon.heard if message[0] == "TAKE" for run in message[2]]
        numbers = {number for first, count in released for number in range(first, first + count)}
        done = [run for message in daemon.heard if message[0] == "TAKE" for run in message[1]]
        assert numbers == {0, 1, 2}
        assert done == [[0, 1]]
        verbs = [message[0] for message in daemon.heard]
        assert "TAKE" in verbs[verbs.index("SEEK") : verbs.index("ASK")]
