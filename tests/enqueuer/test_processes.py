"""Batches made by processes of the calling program: order, epochs, memory, and what is left in the end."""

from __future__ import annotations

import os
import random
from itertools import islice
from typing import Any

import numpy as np
import pytest

import sequences
import waiting
from enqueued.arena.segment import SMALL
from enqueued.enqueuer import nursery
from enqueued.enqueuer.runners import Ended
from runs import Run, living, nothing_left, take

__all__ = ["nothing_left"]


def test_batches_come_in_order_epoch_after_epoch() -> None:
    """None is lost and none comes twice."""
    with Run(sequences.Counting(7), workers=3) as runner:
        assert [int(batch[0]) for batch in take(runner, 40)] == list(islice(list(range(7)) * 6, 40))


def test_large_batches_are_views_that_are_exact_to_the_bit() -> None:
    """They can be written, and what is written is not seen in the next batch of the same memory."""
    with Run(sequences.Large(4), max_queue_size=2) as runner:
        for number in range(40):
            images, labels = runner.take()
            expected = sequences.large(number % 4)
            assert np.array_equal(images, expected[0])
            assert np.array_equal(labels, expected[1])
            assert not images.flags.owndata
            images[:] = 0
        assert len(runner._engine.memory.table) <= 12  # type: ignore[union-attr] # it is running


def test_batches_that_are_held_stay_as_they_are() -> None:
    """However many, also after the end; beyond a part of the memory they are copies."""
    with Run(sequences.Counting(20, size=SMALL)) as runner:
        runner._most_bytes = 8 * SMALL * 10
        held = take(runner, 50)
        assert 0 < runner._given_bytes <= runner._most_bytes
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
    """Counted in the core each time that it has ordered something, while the consumer takes and rests by turns."""
    with Run(sequences.Counting(50), max_queue_size=max_queue_size) as runner:
        engine = runner._engine
        assert engine is not None
        waiting.until(lambda: engine.feed.ready)
        line, ahead = engine.feed.line, []
        order = line.orders

        def counted(most: int, together: int = 1) -> Any:
            ordered = order(most, together)
            ahead.append(line.window.queued + line.untaken)
            return ordered

        line.orders = counted  # type: ignore[method-assign] # to listen
        for rest in range(2, 30):
            runner.take()
            if rest % 5 == 0:
                waiting.until(lambda: line.window.queued + len(engine.items) == max_queue_size + 1 or not line.filling)
        assert max(ahead) == max_queue_size + 1


def test_memory_bounds_a_queue_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of what is available: then nothing more is ordered, or the workers wait, until batches are taken."""
    monkeypatch.setattr("enqueued.pool.memory.available_bytes", lambda: 64 << 20)
    with Run(sequences.Counting(1000, size=1 << 17), max_queue_size=0) as runner:  # batches of 1 MB
        engine = runner._engine
        assert engine is not None
        feed = engine.feed
        for first in (0, 20):
            waiting.until(
                lambda: feed.ready and (feed.line.room <= 0 or any(one.needs for one in feed.pool.workers())), within=20
            )
            assert engine.memory.table.total_bytes <= 24 << 20  # 16, and what is wanted at once or held
            assert [int(runner.take()[0]) for _ in range(20)] == list(range(first, first + 20))


def test_stopping_ends_every_process() -> None:
    """And again is harmless."""
    with Run(sequences.Counting()) as runner:
        runner.take()
        pids = [worker.pid for worker in runner._engine.feed.pool.workers()]  # type: ignore[union-attr] # as above
        assert len(pids) == 2
        runner.stop(None)
        assert not living() & set(pids)
        assert not runner.running
        with pytest.raises(Ended):
            runner.take()


@pytest.mark.parametrize("sequence", [sequences.Counting(), sequences.Hanging(first=2)], ids=["idle", "hanging"])
def test_nothing_is_left_of_the_pool_when_a_stop_returns(sequence: Any) -> None:
    """Not one process of its group, however busy they are."""
    with Run(sequence, workers=3) as runner:
        take(runner, 2)
        engine = runner._engine
        assert engine is not None
        root = engine.feed.pool._root
        assert isinstance(root, nursery.PlantedRoot)
        runner.stop(None)
        assert root.pid
        assert not living(root.pid)


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


# -- epochs -----------------------------------------------------------------------------------------------------------


def test_what_on_epoch_end_does_here_is_seen_by_every_worker() -> None:
    """It runs once per epoch, in this program, when the last batch is taken, and the length is read again."""
    sequence = sequences.Growing()
    with Run(sequence) as runner:
        for epoch in range(4):
            length = 3 + epoch
            assert sequence.epoch == epoch
            batches = take(runner, length)
            assert [batch[:3] for batch in batches] == [(epoch, index, epoch) for index in range(length)]
            assert os.getpid() not in {batch[3] for batch in batches}
            runner.join_end_of_epoch(20)
        assert sequence.ended_in == [os.getpid()] * 4


def test_on_epoch_end_waits_for_the_last_batch() -> None:
    """Nothing of the next epoch is made before."""
    sequence = sequences.Growing()
    with Run(sequence) as runner:
        take(runner, 2)
        engine = runner._engine
        assert engine is not None
        waiting.until(lambda: engine._pending == 1 and len(engine.items) == 1)
        assert engine.feed.line.made_count == 3
        assert sequence.epoch == 0
        assert take(runner, 2)[1][:2] == (1, 0)


def test_a_shuffled_epoch_has_the_length_that_it_has_then() -> None:
    """Also after `on_epoch_end` has changed it."""
    with Run(sequences.Growing(20), shuffle=True) as runner:
        for epoch in range(3):
            batches = take(runner, 20 + epoch)
            assert {batch[0] for batch in batches} == {epoch}
            assert sorted(batch[1] for batch in batches) == list(range(20 + epoch))


def test_an_error_between_epochs_comes_after_the_last_batch() -> None:
    """With its own type."""
    with Run(sequences.BadEnd(3)) as runner:
        take(runner, 3)
        with pytest.raises(ZeroDivisionError, match="at the end"):
            runner.take()
        assert not runner.running


def test_batches_are_seeded_by_the_run() -> None:
    """The same numbers come again after the same `random.seed`, however many workers draw them, and no two alike."""

    def drawn(workers: int) -> list[Any]:
        with Run(sequences.Drawing(4), workers) as runner:
            return take(runner, 8)

    one = drawn(1)
    assert len({batch[1:] for batch in one}) == 8
    assert [batch[0] for batch in one] == [0, 1, 2, 3] * 2
