"""Batches made by processes of the calling program: order, epochs, memory, and what is left in the end."""

from __future__ import annotations

import gc
import os
import random
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sequences
import waiting
from enqueued.arena.segment import SMALL
from enqueued.enqueuer import nursery, processes
from enqueued.enqueuer.runners import Ended, Setup


def children() -> set[int]:
    """The processes that this one has begun and not waited for."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def descriptors() -> int:
    """How many descriptors are open."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No process, thread or descriptor stays behind, and the nursery is none either once it is closed."""
    before = children(), descriptors(), threading.active_count()
    yield
    nursery.close()
    assert (children(), descriptors(), threading.active_count()) == before


class Run:
    """A runner over a sequence; a context manager."""

    def __init__(self, sequence: Any, workers: int = 2, max_queue_size: int = 10, *, shuffle: bool = False) -> None:
        self.runner = processes.ordered(sequence, Setup.of(workers, max_queue_size, shuffle))

    def __enter__(self) -> processes.ProcessRunner:
        return self.runner

    def __exit__(self, *_: object) -> None:
        self.runner.stop(None)


def take(runner: processes.ProcessRunner, count: int) -> list[Any]:
    """The next batches."""
    return [runner.take() for _ in range(count)]


def test_batches_come_in_order_epoch_after_epoch() -> None:
    """None is lost and none comes twice."""
    with Run(sequences.Counting(7), workers=3) as runner:
        assert [int(batch[0]) for batch in take(runner, 40)] == list(islice(list(range(7)) * 6, 40))


def test_large_batches_are_views_that_are_exact_to_the_bit() -> None:
    """They can be written, and what is written is not seen in the next batch of the same memory."""
    with Run(sequences.Large(4), max_queue_size=2) as runner:
        for number in range(16):
            images, labels = runner.take()
            expected = sequences.large(number % 4)
            assert np.array_equal(images, expected[0])
            assert np.array_equal(labels, expected[1])
            assert not images.flags.owndata
            images[:] = 0
        assert len(runner._engine.memory.table) <= 8  # type: ignore[union-attr] # it is running


def test_batches_that_are_held_stay_as_they_are() -> None:
    """However many, also after the end; beyond a part of the memory they are copies."""
    with Run(sequences.Counting(20, size=SMALL)) as runner:
        runner._most_bytes = 8 * SMALL * 10
        held = take(runner, 50)
        assert runner._held_bytes <= runner._most_bytes
    assert [int(batch[0]) for batch in held] == list(islice(list(range(20)) * 3, 50))
    assert all((batch == batch[0]).all() for batch in held)


def test_batches_are_what_the_sequence_made() -> None:
    """Of any type that can be pickled, with the layout of its arrays."""
    with Run(sequences.Rich(3)) as runner:
        for index in range(3):
            batch, expected = runner.take(), sequences.rich(index)
            assert list(batch) == list(expected)
            for name in ("turned", "fortran", "empty", "scalar"):
                assert np.array_equal(batch[name], expected[name])
                assert batch[name].dtype == expected[name].dtype
            assert batch["fortran"].flags.f_contiguous
            assert batch["objects"].tolist() == expected["objects"].tolist()
            assert batch["masked"].tolist() == expected["masked"].tolist()
            assert batch["point"] == expected["point"]
            assert batch["set"] == expected["set"]


@pytest.mark.parametrize("max_queue_size", [1, 3])
def test_no_more_is_made_ahead_than_was_asked_for(max_queue_size: int) -> None:
    """Counted in the core, in every state that it comes to."""
    with Run(sequences.Counting(50), max_queue_size=max_queue_size) as runner:
        engine = runner._engine
        assert engine is not None
        made: list[int] = []
        for taken in range(1, 30):
            runner.take()
            waiting.until(lambda: engine.items.qsize() == max_queue_size + 1)
            made.append(engine.feed.line.made_count - taken)
        assert set(made) == {max_queue_size + 1}


def test_stopping_ends_every_process() -> None:
    """And again is harmless."""
    with Run(sequences.Counting()) as runner:
        runner.take()
        pids = [worker.pid for worker in runner._engine.feed.pool.workers()]  # type: ignore[union-attr] # as above
        assert len(pids) == 2
        runner.stop(None)
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        assert not runner.running
        with pytest.raises(Ended):
            runner.take()


def test_a_shuffled_order_follows_from_the_global_generator() -> None:
    """Each epoch has its own; each has every batch once."""

    def orders() -> list[int]:
        random.seed(4)
        with Run(sequences.Counting(30), shuffle=True) as runner:
            return [int(batch[0]) for batch in take(runner, 60)]

    first = orders()
    assert first == orders()
    assert sorted(first[:30]) == sorted(first[30:]) == list(range(30))
    assert len({*map(tuple, (first[:30], first[30:], range(30)))}) == 3
