"""What a batch costs in steady state, in counts that are the same on every machine: messages, mappings, page faults."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from enqueued import Client
from enqueued.wire.messages import MOST_TOGETHER
from serving import Serving
from waiting import until

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Counts:
    """Totals, and what there is, at one moment; what is of a process is by its part."""

    messages: int
    slot_bytes: int
    faults: Mapping[str, int]
    descriptors: Mapping[str, int]
    segments: Mapping[str, frozenset[str]]
    """The memory files that are mapped, by inode: one that comes in the place of another is another."""


class Trainer:
    """One that copies every batch out, and has one worker and its daemon for itself."""

    def __init__(self, client: Client, queue: int) -> None:
        self._client = client
        self._queue = queue
        self._batches = client.steps(1 << 30)
        self._buffers = tuple(np.zeros_like(array) for array in next(self._batches))

    def take(self, count: int, written: int = 0) -> None:
        """So many batches; with `written` it changes as many bytes at the beginning of each."""
        for _ in range(count):
            batch = next(self._batches)
            batch[0].reshape(-1).view(np.uint8)[:written] = 1
            for buffer, array in zip(self._buffers, batch, strict=True):
                np.copyto(buffer, array)

    def warm_up(self, written: int = 0) -> None:
        """Have as many slots made, and mapped, as there can be: all that is ready, time and again."""
        run = max(1, min(MOST_TOGETHER, self._queue // 8))  # small ones are ordered when there is room for as many
        for _ in range(4):
            until(lambda: self._client.stats()["streams"][0]["ready"] > self._queue - run, 10, "the queue is full")
            self.take(3 * self._queue, written)

    def counts(self) -> Counts:
        """As of now."""
        told = self._client.stats()
        (stream,) = told["streams"]
        (worker,) = stream["workers"]
        pids = {"daemon": told["pid"], "worker": worker["pid"], "client": os.getpid()}
        return Counts(
            messages=told["messages"],
            slot_bytes=stream["slot_bytes"],
            faults={name: _faults(pid) for name, pid in pids.items()},
            descriptors={name: len(os.listdir(f"/proc/{pid}/fd")) for name, pid in pids.items()},
            segments={name: _segments(pid) for name, pid in pids.items()},
        )


def _faults(pid: int) -> int:
    """Minor page faults of a process, of which every first touch of a page costs one."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


def _segments(pid: int) -> frozenset[str]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return frozenset(line.split()[4] for line in lines if "/memfd:" in line)


@contextmanager
def training(size: str, *, queue: int, prefetch: int) -> Iterator[Trainer]:
    """A source of ready arrays of one of the sizes that the benchmarks have, so that only what we do counts."""
    source = ("--app-dir", str(ROOT), "--sequence", "benchmarks.batches:Ready", "--arg", f'size="{size}"')
    with (
        Serving(*source, "--workers", "1", "--max-queue-size", str(queue)) as daemon,
        daemon.client(prefetch=prefetch) as client,
    ):
        yield Trainer(client, queue)


@pytest.mark.parametrize(
    ("size", "queue", "prefetch", "batches", "most"),
    [
        pytest.param(
            "small", 512, 128, 10_000, 0.2, id="small ones share a ticket and an acknowledgement by the dozen"
        ),
        pytest.param("mid", 8, 4, 1000, 2.0, id="a ticket goes out, and what comes in tells of the release as well"),
    ],
)
def test_a_batch_takes_few_messages(size: str, queue: int, prefetch: int, batches: int, most: float) -> None:
    """Small ones, alone, would take two; a large one takes no more than that."""
    with training(size, queue=queue, prefetch=prefetch) as trainer:
        trainer.warm_up()
        before = trainer.counts()
        trainer.take(batches)
        assert (trainer.counts().messages - before.messages) / batches <= most


@pytest.mark.parametrize(("size", "queue", "prefetch"), [("mid", 8, 4), ("small", 512, 128)])
def test_nothing_is_mapped_or_opened_once_it_is_warm(size: str, queue: int, prefetch: int) -> None:
    """The same segments serve batch after batch, in all three processes."""
    with training(size, queue=queue, prefetch=prefetch) as trainer:
        trainer.warm_up()
        before = trainer.counts()
        trainer.take(2000)
        after = trainer.counts()
    assert after.segments == before.segments
    assert after.descriptors == before.descriptors
    assert after.slot_bytes == before.slot_bytes
    assert all(before.segments.values())


def test_a_large_batch_that_is_read_costs_no_page_faults() -> None:
    """Neither where it is made, nor where it is read; each of its pages would be one."""
    with training("mid", queue=8, prefetch=4) as trainer:
        trainer.warm_up()
        before = trainer.counts()
        trainer.take(2000)
        after = trainer.counts()
    each = {name: (count - before.faults[name]) / 2000 for name, count in after.faults.items()}
    assert all(count < 0.1 for count in each.values()), each


def test_a_batch_that_is_written_costs_the_faults_of_what_was_written() -> None:
    """One for the private copy of a page, and one for the next batch's: the others stay mapped."""
    with training("mid", queue=8, prefetch=4) as trainer:
        trainer.warm_up(written=1)
        before = trainer.counts()
        trainer.take(1000, written=1)
        after = trainer.counts()
    each = (after.faults["client"] - before.faults["client"]) / 1000
    assert 1 <= each <= 4  # of the 384 pages that it has
