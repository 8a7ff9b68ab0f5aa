"""A worker as its daemon sees it: which of what it makes it tells together, and where that lies."""

from __future__ import annotations

import mmap
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from enqueued.arena.segment import Slot, cells_per_segment
from enqueued.codec.decode import decode
from enqueued.pool.channel import Channel, Message
from enqueued.pool.page import Page
from enqueued.pool.worker import Worker
from enqueued.source.load import build
from enqueued.source.spec import SourceSpec
from enqueued.wire.messages import MOST_TOGETHER

SUPPORT = str(Path(__file__).parents[1] / "support")
ROOM = 64 << 20


class Daemon:
    """The other end of a worker's channel; the worker runs in a thread of this process."""

    def __init__(self, target: str, allowance: int = ROOM, **args: Any) -> None:
        source = build(SourceSpec("sequence", target, args=args, app_dir=SUPPORT))
        source.seeds_globals = False  # they are this process's own
        self.channel, theirs = Channel.pair()
        page, fd = Page.create(1)
        os.close(fd)
        self._theirs = Channel(theirs)
        self._worker = Worker(source, 1, "worker 1", self._theirs, page)
        self._thread = threading.Thread(target=self._worker.run)
        self.segments: dict[int, mmap.mmap] = {}
        self.rows: list[tuple[tuple[int, int], Slot]] = []
        self.failed: list[tuple[int, int]] = []
        self.needed: list[tuple[int, int]] = []
        if allowance:
            self.channel.send({"grant": allowance})

    def order(self, *stretches: tuple[int, int, int]) -> None:
        """Have these made."""
        self.channel.send({"make": stretches})

    def hear(self) -> Message:
        """The next message."""
        message = self.channel.receive(wait=True)
        assert message is not None
        fds = self.channel.take_fds()
        if "segment" in message:
            number, size = message["segment"]
            self.segments[number] = mmap.mmap(fds[0], size, mmap.MAP_SHARED, mmap.PROT_READ)
            os.close(fds[0])
        for epoch, index, segment, offset, nbytes, count, make_us in message.get("made", ()):
            assert make_us >= 0
            self.rows.append(((epoch, index), Slot(segment, offset, nbytes, count)))
        if "failed" in message:
            epoch, index, _ = message["failed"]
            self.failed.append((epoch, index))
        if "need" in message:
            epoch, index, _ = message["need"]
            self.needed.append((epoch, index))
        return message

    @property
    def answered(self) -> int:
        """How many positions were made, or failed."""
        return sum(slot.cells for _, slot in self.rows) + len(self.failed)

    def until(self, answered: int) -> Self:
        """Hear it until so many positions are answered."""
        while self.answered < answered:
            self.hear()
        return self

    def batches(self) -> dict[tuple[int, int], Any]:
        """What lies in the slots, by position; each was told once."""
        found: dict[tuple[int, int], Any] = {}
        for (epoch, index), slot in self.rows:
            memory = self.segments[slot.segment]
            for n in range(slot.cells):
                part = slot.part(n, 1)
                assert (epoch, index + n) not in found
                found[epoch, index + n] = decode(np.frombuffer(memory[part.offset : part.stop], np.uint8))
        return found

    def free(self, *slots: Slot) -> None:
        """Give these back."""
        self.channel.send({"free": [(slot.segment, slot.offset, slot.cells) for slot in slots]})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.channel.send({"quit": True})
        self._thread.join(20)
        assert not self._thread.is_alive()
        self.channel.close()
        self._theirs.close()


@pytest.fixture(autouse=True)
def _sources() -> Iterator[None]:
    """The sources of the tests are not among the modules of others."""
    before = list(sys.path)
    yield
    sys.path[:] = before


def test_neighbours_lie_together_and_are_told_together() -> None:
    """In runs of up to 64, each batch in the next cell; every position once, in order."""
    with Daemon("sources.counting:Counting", length=1000) as daemon:
        daemon.order((0, 0, 500), (0, 500, 1), (0, 501, 99))
        daemon.until(600)
        assert [one for one, _ in daemon.rows] == sorted(one for one, _ in daemon.rows)
        found = daemon.batches()
        assert list(found) == [(0, index) for index in range(600)]
        for (_, index), (data, number) in found.items():
            assert (data == index).all()
            assert number == index
        assert max(slot.cells for _, slot in daemon.rows) <= MOST_TOGETHER
        assert sum(slot.cells > 1 for _, slot in daemon.rows) > 5


def test_what_was_ordered_together_is_told_together() -> None:
    """No run reaches beyond a stretch, even if what follows lies beside it: else the daemon would have to divide it."""
    stretches = [(0, first, 40) for first in range(0, 400, 40)]
    with Daemon("sources.counting:Counting", length=1000) as daemon:
        daemon.order(*stretches)
        daemon.until(400)
        assert list(daemon.batches()) == [(0, index) for index in range(400)]
        for (_, index), slot in daemon.rows:
            assert index // 40 == (index + slot.cells - 1) // 40
        assert sum(slot.cells > 1 for _, slot in daemon.rows) > 5


def test_what_does_not_follow_is_told_apart() -> None:
    """Positions that skip some, another epoch, and those behind an error."""
    with Daemon("sources.faulty:Raising", at=[25, 30, 31], length=100) as daemon:
        daemon.order((0, 0, 10), (0, 20, 20), (1, 40, 10), (1, 5, 3))
        daemon.until(43)
        assert daemon.failed == [(0, 25), (0, 30), (0, 31)]
        made = [(epoch, index + n) for (epoch, index), slot in daemon.rows for n in range(slot.cells)]
        ordered = [*range(10), *range(20, 40)]
        assert made == [
            *((0, index) for index in ordered if index not in (25, 30, 31)),
            *((1, index) for index in [*range(40, 50), 5, 6, 7]),
        ]
        assert {index: int(batch[0]) for (_, index), batch in daemon.batches().items()} == {
            index: index for _, index in made
        }


def test_batches_of_another_size_are_told_apart() -> None:
    """A run's batches are all as long as its first one; large ones are told alone."""
    sizes = [*[100] * 20, *[101] * 20, *[5000] * 20, 70_000, 70_000]
    with Daemon("sources.pooled:Sized", sizes=sizes, length=200) as daemon:
        daemon.order((0, 0, 200))
        daemon.until(200)
        found = daemon.batches()
        for index in range(200):
            data = found[0, index]
            assert data.size == sizes[index % len(sizes)]
            assert (data == index % 251).all()
        for (_, index), slot in daemon.rows:
            assert {sizes[(index + n) % len(sizes)] for n in range(slot.cells)} == {sizes[index % len(sizes)]}
            assert slot.nbytes < 70_000 or slot.cells == 1


def test_runs_that_came_back_are_written_again() -> None:
    """Whole or in parts, in any order: no cell is used by two, and no more memory is asked for than is in use."""
    rounds, together = 39, 100
    with Daemon("sources.counting:Counting", length=rounds * together) as daemon:
        for number in range(rounds):
            daemon.order((0, number * together, together))
            daemon.until((number % 3 + 1) * together)
            found = daemon.batches()
            assert all(number == index for (_, index), (_, number) in found.items())
            cells = [(slot.segment, slot.offset + n * slot.step) for _, slot in daemon.rows for n in range(slot.cells)]
            assert len(cells) == len(set(cells))
            if number % 3 == 2:
                slots = [slot for _, slot in daemon.rows]
                parts = [slot.part(n, min(7, slot.cells - n)) for slot in slots for n in range(0, slot.cells, 7)]
                daemon.free(*parts[::2], *parts[1::2][::-1])
                daemon.rows.clear()
        assert len(daemon.segments) == -(-3 * together // cells_per_segment(slots[0].step))


def test_memory_that_is_waited_for_in_the_middle_of_a_run_is_named() -> None:
    """What was made before is told first, and the run goes on when there is some."""
    with Daemon("sources.counting:Counting", allowance=0, length=1000) as daemon:
        daemon.order((0, 7, 5))
        while not daemon.needed:
            daemon.hear()
        assert daemon.needed == [(0, 7)]
        assert daemon.rows == []
        daemon.channel.send({"grant": ROOM})
        daemon.until(5)
        assert list(daemon.batches()) == [(0, 7 + n) for n in range(5)]
