"""What a client is sent of small batches: tickets and frames that stand for many."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enqueued.arena.segment import SMALL, Slot, cell_size, create_segment
from enqueued.arena.table import SegmentTable
from enqueued.errors import SourceError
from enqueued.pool.feed import Feed
from enqueued.server.endpoint import Endpoint
from enqueued.server.session import Session
from enqueued.stream.decisions import Decision, Deliver, EndEpoch, Over
from enqueued.wire.hello import Hello
from enqueued.wire.messages import MOST_TOGETHER, REDELIVERED, check_item
from serving import Serving
from taking import taken
from trainer import Trainer

SEGMENT = 1 << 20
FAR = ("--workers", "2", "--max-queue-size", "600")
"""Runs are a part of what may be made ahead."""
TINY = ("--sequence", "sources.counting:Counting", *FAR)
Item = list[Any]


class Member:
    """A session, and the client at the other end of its socket."""

    def __init__(self, *, frames: bool) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.endpoint = Endpoint(self.context, "tcp://127.0.0.1:*", lambda connection: None)
        self._peer = self.context.socket(zmq.DEALER)
        self._peer.setsockopt(zmq.IDENTITY, b"peer")
        self._peer.connect(self.endpoint.address)
        self._peer.send(b"here")
        assert self.endpoint._socket.poll(10_000)
        list(self.endpoint.receive())
        hello = Hello(token=None if frames else b"t")
        feed = cast(Feed, None)  # a session asks it only to give back what was sent
        self.session = Session(1, self.endpoint, b"peer", -1, hello, feed)
        self.table = SegmentTable()
        self.memory = []
        for number in (1, 2):
            fd, memory = create_segment("runs", SEGMENT)
            memory[:] = np.random.default_rng(number).bytes(SEGMENT)
            self.memory.append(memory)
            self.table.add(number, fd, SEGMENT, 1)

    def sent(self, *decisions: Decision) -> tuple[list[Item], list[bytes]]:
        """The items that these become, and the frames."""
        for decision in decisions:
            assert self.session.put(decision, self.table)
        assert self.session.flush()
        items: list[Item] = []
        frames: list[bytes] = []
        expected = sum(item.slot.cells if item.slot else 1 for item in decisions if isinstance(item, Deliver))
        expected += sum(not isinstance(item, Deliver) for item in decisions)
        while sum(_count(item) for item in items) < expected:
            assert self._peer.poll(10_000)
            data, *more = self._peer.recv_multipart()
            verb, found, forget = msgpack.unpackb(data)
            assert (verb, forget) == ("BATCHES", [])
            items += [check_item(item) for item in found]
            frames += more
        return items, frames

    def close(self) -> None:
        """Close both ends."""
        self._peer.close(0)
        self.endpoint.close()
        self.context.term()
        self.table.close()


def _count(item: Item) -> int:
    return int(item[9] if item[0] == 0 else item[6] if item[0] == 1 else 1)


def alone(items: list[Item]) -> list[Item]:
    """What tickets say of each batch: lease, generation, epoch, index, flags, segment, offset, nbytes."""
    return [
        [lease + n, generation, epoch, index + n, flags, segment, offset + n * step, nbytes]
        for _, lease, generation, epoch, index, flags, segment, offset, nbytes, count, step in items
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def local() -> Iterator[Member]:
    """A client of this host."""
    member = Member(frames=False)
    yield member
    member.close()


@pytest.fixture(scope="module")
def remote() -> Iterator[Member]:
    """A client of another host."""
    member = Member(frames=True)
    yield member
    member.close()


def given_to(lease: int, slot: Slot, position: tuple[int, int], generation: int = 0, *, again: bool = False) -> Deliver:
    """A decision to deliver what lies in a slot."""
    return Deliver("client 1", lease, generation, position, slot, None, again)


@st.composite
def deliveries(draw: st.DrawFn) -> list[Deliver]:
    """Decisions that mostly go on where the one before has ended, in memory, leases and positions."""
    found: list[Deliver] = []
    lease, generation, epoch, index, again = 0, 0, 0, 0, False
    segment, offset, nbytes = 1, 0, 100
    for _ in range(draw(st.integers(1, 25))):
        change = draw(st.sampled_from([*[""] * 12, "lease", "generation", "epoch", "index", "again", "place", "size"]))
        if change == "lease":
            lease += draw(st.integers(1, 3))
        elif change == "generation":
            generation += 1
        elif change == "epoch":
            epoch += 1
        elif change == "index":
            index += draw(st.sampled_from([-1, 1, 5])) if index else 1
        elif change == "again":
            again = not again
        elif change == "place":
            segment, offset = draw(st.sampled_from([1, 2])), draw(st.integers(0, 20)) * 64
        elif change == "size":
            nbytes = draw(st.sampled_from([100, 101, 5000, SMALL - 1, SMALL, 2 * SMALL]))
        cells = draw(st.sampled_from([1, 1, 2, 30, MOST_TOGETHER])) if nbytes < SMALL else 1
        slot = Slot(segment, offset, nbytes, cells)
        found.append(given_to(lease, slot, (epoch, index), generation, again=again))
        lease, index, offset = lease + cells, index + cells, offset + cells * slot.step
    return found


# the one session of all examples keeps nothing of what it has sent
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deliveries())
def test_tickets_that_follow_each_other_are_one(local: Member, decisions: list[Deliver]) -> None:
    """They name the same batches in the same order, never too many, and two neighbours only where they differ."""
    items, frames = local.sent(*decisions)
    assert not frames
    expected = [
        [one.lease + n, one.generation, one.position[0], one.position[1] + n, REDELIVERED * one.redelivered,
         one.slot.segment, one.slot.offset + n * one.slot.step, one.slot.nbytes]
        for one in decisions
        for n in range(one.slot.cells)
    ]  # fmt: skip
    assert alone(items) == expected
    for item in items:
        assert item[0] == 0
        assert item[10] == cell_size(item[8])
    for one, other in itertools.pairwise(items):
        count, step = one[9], one[10]
        follows = other[1:6] == [one[1] + count, *one[2:4], one[4] + count, one[5]]
        follows = follows and other[6:9] == [one[6], one[7] + count * step, one[8]] and one[8] < SMALL
        assert not follows or max(count, other[9]) + count > MOST_TOGETHER or count + other[9] > MOST_TOGETHER


def test_what_is_told_between_them_divides_tickets(local: Member) -> None:
    """The end of an epoch, an error, and the end of a message."""
    slots = [Slot(1, n * cell_size(100), 100) for n in range(8)]
    error = Deliver("client 1", 4, 0, (0, 4), None, {"message": "no"}, False)
    tickets = [given_to(n, slots[n], (0, n)) for n in range(4)]
    after = [given_to(5 + n, slots[4 + n], (0, 5 + n)) for n in range(2)]
    items, _ = local.sent(*tickets, error, *after, EndEpoch("client 1", 0, 0, 7), Over("client 1", 0))
    assert [(item[0], item[1]) for item in items] == [(0, 0), (2, 4), (0, 5), (3, 0), (4, 0)]
    assert [item[9] for item in items if item[0] == 0] == [4, 2]
    first, _ = local.sent(tickets[0])
    second, _ = local.sent(tickets[1])
    assert [_count(item) for item in first + second] == [1, 1]


def test_a_frame_holds_a_run_from_its_first_byte_to_its_last(remote: Member) -> None:
    """As it lies in memory, and not what lies behind it; a large batch goes in a message of its own."""
    slots = [Slot(1, 64, 1000, 5), Slot(2, 128, 100), Slot(2, 128 + cell_size(100), 100), Slot(1, 0, 2 * SMALL)]
    decisions, lease = [], 0
    for slot in slots:
        decisions.append(given_to(lease, slot, (3, 10 + lease), again=lease == 5))
        lease += slot.cells
    items, frames = remote.sent(*decisions)
    assert [item[:7] for item in items] == [
        [1, 0, 0, 3, 10, 0, 5],
        [1, 5, 0, 3, 15, REDELIVERED, 1],
        [1, 6, 0, 3, 16, 0, 1],
        [1, 7, 0, 3, 17, 0, 1],
    ]
    for item, slot, frame in zip(items, slots, frames, strict=True):
        assert item[7] == cell_size(slot.nbytes)
        length = (slot.cells - 1) * item[7] + slot.nbytes
        assert frame == bytes(remote.memory[slot.segment - 1][slot.offset : slot.offset + length])


# -- through a daemon ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["process", "thread"])
@pytest.mark.parametrize("where", [0, 1], ids=["ipc", "tcp"])
def test_errors_in_the_middle_of_runs_come_in_their_places(where: int, pool: str) -> None:
    """One alone, several together, first and last of an epoch; what is made around them comes once, in order."""
    at = [0, 100, 101, 102, 200, 333, 500, 502, 504, 799]
    flags = ("--sequence", "sources.faulty:Raising", "--arg", "length=800", "--arg", f"at={json.dumps(at)}")
    with Serving(*flags, *FAR, "--pool", pool, "--bind", "tcp://127.0.0.1:*") as daemon:
        with daemon.client(daemon.ready().stats()["endpoints"][where], prefetch=40) as client:
            for epoch in range(3):
                found = list(taken(client))
                assert len(found) == 800
                for index, one in enumerate(found):
                    if isinstance(one, SourceError):
                        assert (one.epoch, one.index) == (epoch, index)
                        assert index in at
                    else:
                        assert one == index
                        assert index not in at
        assert daemon.stats()["ignored"] == 0


def test_failing_batches_in_the_middle_of_runs_can_be_skipped() -> None:
    """`--on-error skip`: the others come, each once."""
    at = [0, 50, 51, 52, 120, 299]
    flags = ("--sequence", "sources.sized:Failing", "--arg", "length=300", "--arg", f"at={json.dumps(at)}")
    with Serving(*flags, *FAR, "--on-error", "skip") as daemon, daemon.client() as client:
        for _ in range(3):
            assert [int(number) for _, number in client] == [n for n in range(300) if n not in at]
        assert client.skipped == 3 * len(at)


DEATHS = {"process": [*range(40, 2000, 97), 700, 701, 1999], "thread": [300, 1500]}
"""Not too many of threads: each death is counted against all that were making something."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pool", DEATHS)
def test_workers_that_die_in_the_middle_of_runs_lose_nothing(pool: str, tmp_path: Path) -> None:
    """What a worker had made and not told, and what it was ordered, is made again; nobody is given a batch twice."""
    at = DEATHS[pool]
    flags = ("--arg", f"at={json.dumps(at)}", "--arg", f"folder={tmp_path}", "--arg", "length=2000")
    with Serving("--sequence", "sources.faulty:Dying", "--arg", "how=kill", *flags, *FAR, "--pool", pool) as daemon:
        found: dict[int, list[int | SourceError]] = {}

        def read(number: int) -> None:
            with daemon.client(prefetch=1 + 60 * number, batch_timeout=40.0) as client:
                found[number] = [one for _ in range(2) for one in taken(client)]

        threads = [threading.Thread(target=read, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {number: [*range(2000)] * 2 for number in range(2)}
        assert daemon.stream_stats()["worker_restarts"] >= len(set(at)) // 2
        assert not daemon.stream_stats()["failed"]


@pytest.mark.timeout(120)
def test_a_position_that_kills_is_given_up_alone(tmp_path: Path) -> None:
    """Not those that were ordered, or made, together with it."""
    flags = ("--sequence", "sources.faulty:Dying", "--arg", "how=kill", "--arg", "at=[150]", "--arg", "length=600")
    with Serving(*flags, *FAR) as daemon, daemon.client(prefetch=60) as client:
        for epoch in range(2):
            found = list(taken(client))
            assert [one for one in found if isinstance(one, int)] == [n for n in range(600) if n != 150]
            error = found[150]
            assert isinstance(error, SourceError)
            assert (error.epoch, error.index) == (epoch, 150)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", [0, 1], ids=["ipc", "tcp"])
@pytest.mark.parametrize(
    "sizes", [[100] * 90 + [3000] * 90, [100, 100, 100, 5000], [2000] * 30 + [70_000] + [2000] * 30 + [200_000] * 3]
)
def test_batches_that_change_their_size_come_whole(sizes: list[int], where: int) -> None:
    """In the middle of what was ordered together, also beyond what is small."""
    flags = ("--sequence", "sources.pooled:Sized", "--arg", "length=900", "--arg", f"sizes={json.dumps(sizes)}")
    with Serving(*flags, *FAR, "--bind", "tcp://127.0.0.1:*") as daemon:
        with daemon.client(daemon.ready().stats()["endpoints"][where], prefetch=50) as client:
            for _ in range(2):
                count = 0
                for index, data in enumerate(client):
                    assert data.size == sizes[index % len(sizes)]
                    assert (data == index % 251).all()
                    data[...] = 255
                    count += 1
                assert count == 900
        assert daemon.stats()["ignored"] == 0


@pytest.mark.timeout(120)
def test_members_that_are_killed_with_runs_in_their_hands_leave_them_to_others(tmp_path: Path) -> None:
    """A trainer in a process of its own, killed with an epoch's beginning: the other gets what it did not tell."""
    with Serving(*TINY, "--arg", "length=400") as daemon:
        with Trainer() as trainer:
            trainer.tell(f"client = Client({daemon.ready().endpoint!r}, group='g', start='stored', prefetch=100)")
            assert trainer.answer() == ("ok", None)
            assert trainer("[int(number) for (_, number), _ in zip(client, range(130))]") == list(range(130))
            with daemon.client(group="g", start="stored", prefetch=100) as client:
                trainer.process.kill()
                rest = []
                for one in client.batches():
                    if one.epoch:
                        break
                    rest.append(one.index)
        assert len(rest) == len(set(rest))
        assert set(range(130, 400)) <= set(rest)
        again = [index for index in rest if index < 130]
        assert len(again) <= 101
