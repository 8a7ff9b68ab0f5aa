from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from enqueued.errors import LoadError, SourceError
from enqueued.source.indexed import IndexedSource
from enqueued.source.load import build
from enqueued.source.permutation import shuffled
from enqueued.source.seeding import rng
from enqueued.source.spec import SourceSpec


def indexed(target: str, **fields: Any) -> IndexedSource:
    source = build(SourceSpec("sequence", f"sources.{target}", **fields))
    assert isinstance(source, IndexedSource)
    return source


def test_batches_come_by_index() -> None:
    """Without shuffle the index is the Sequence's own."""
    source = indexed("good:Numbers")
    assert [source.make(3, index)[1] for index in (4, 0, 2)] == [4, 0, 2]


def test_shuffle_permutes_batches_by_epoch() -> None:
    """The order follows from (seed, epoch) and each batch comes once."""
    source = indexed("good:Numbers", shuffle=True, seed=5, args={"size": 100})
    for epoch in (0, 1, 0):
        order = [source.make(epoch, index)[1] for index in range(100)]
        assert order == shuffled(5, epoch, 100, 0, 100).tolist()


@pytest.mark.parametrize("workers", [2, 5])
def test_an_augmented_epoch_is_the_same_for_any_number_of_workers(workers: int) -> None:
    """Each worker has a copy of the source and its own share of the positions, made in any order."""

    def epoch(count: int) -> list[tuple[Any, ...]]:
        copies = [indexed("good:Augmented", seed=3, args={"size": 20}) for _ in range(count)]
        made = {}
        for index in random.sample(range(20), 20):
            number, one, more = copies[index % count].make(1, index)
            made[index] = (number, one, more.tolist())
        return [made[index] for index in range(20)]

    assert epoch(workers) == epoch(1)
    assert len({one for _, one, _ in epoch(1)}) == 20


def test_the_process_wide_generators_may_be_left_alone() -> None:
    """Threads share them, so that a thread pool does not seed them; `rng` follows the position all the same."""
    source = indexed("good:Numbers")
    source.seeds_globals = False
    random.seed(1)
    expected = random.random()
    random.seed(1)
    source.make(0, 3)
    assert random.random() == expected
    first = float(rng().random())
    source.make(0, 3)
    assert float(rng().random()) == first


def test_exceptions_of_getitem_come_out_as_they_are() -> None:
    """It is the pool that says position and worker."""
    with pytest.raises(KeyError, match="2"):
        indexed("bad:FailingAt", args={"size": 3}).make(0, 2)


def test_hooks_run_once_per_epoch_in_order() -> None:
    """First on_epoch_begin, then for each end on_epoch_end and the next on_epoch_begin."""
    source = indexed("epochs:Recording")
    assert source.has_epoch_hook
    source.begin()
    source.end_epoch()
    source.end_epoch()
    assert source.user.calls == ["begin", "end", "begin", "end", "begin"]


def test_hooks_are_seeded_by_epoch() -> None:
    """A source that shuffles with the process-wide generators can be rebuilt at any epoch."""
    one, other = indexed("epochs:Reordering", seed=4), indexed("epochs:Reordering", seed=4)
    one.begin()
    other.begin()
    orders = []
    for _ in range(3):
        one.end_epoch()
        np.random.random(7)
        orders.append(list(one.user.order))
    for _ in range(3):
        other.end_epoch()
    assert other.user.order == orders[-1]
    assert orders[0] != orders[1] != orders[2]


def test_the_length_is_read_again_after_an_epoch() -> None:
    """A source may grow; its order is then of the new length."""
    source = indexed("epochs:Growing", shuffle=True)
    assert sorted(source.make(0, index) for index in range(source.length())) == [0, 1]
    source.end_epoch()
    assert source.length() == 3
    assert sorted(source.make(1, index) for index in range(3)) == [0, 1, 2]


def test_a_length_that_falls_to_zero_is_an_error() -> None:
    """Also in a later epoch, not only at the start."""
    source = indexed("epochs:Growing")
    source.user.size = 0
    with pytest.raises(LoadError, match="is 0; there must be at least 1"):
        source.length()


def test_a_hook_that_raises_is_named() -> None:
    """At the start it is a load error, later an error of the source with the epoch."""
    source = indexed("bad:FailingHooks", args={"size": 2})
    with pytest.raises(LoadError, match="on_epoch_begin raised ValueError: begin") as load:
        source.begin()
    assert "sources/bad.py" in load.value.traceback
    with pytest.raises(SourceError) as caught:
        source.end_epoch()
    assert str(caught.value).startswith("sources.bad:FailingHooks.on_epoch_end raised ValueError: end (")
    assert str(caught.value).endswith(") in epoch 0")
    assert caught.value.epoch == 0
    assert "sources/bad.py" in caught.value.traceback


def test_a_source_without_hooks_may_be_told_of_epochs() -> None:
    """Nothing happens."""
    source = indexed("good:Numbers")
    source.begin()
    source.end_epoch()
    assert not source.has_epoch_hook
