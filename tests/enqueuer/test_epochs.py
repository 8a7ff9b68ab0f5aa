"""What happens between epochs, and what does not."""

from __future__ import annotations

import pytest

import sequences
from enqueued import OrderedEnqueuer
from enqueuing import numbers
from runs import Run, nothing_left, take

__all__ = ["nothing_left"]
pytestmark = pytest.mark.timeout(30)


def test_the_length_is_read_in_every_epoch(use_multiprocessing: bool) -> None:
    """Also where nobody runs `on_epoch_end`."""
    sequence = sequences.Counting(4)
    with OrderedEnqueuer(sequence, use_multiprocessing) as enqueuer:
        enqueuer.start(workers=1, max_queue_size=1)
        assert numbers(enqueuer, 1) == [0]
        sequence.length = 2
        assert numbers(enqueuer, 40)[-6:] in ([0, 1] * 3, [1, 0] * 3)


def test_a_sequence_that_grows_without_telling_is_followed(use_multiprocessing: bool) -> None:
    """Its workers have what its length counts: the program adds rows while an epoch is taken."""
    sequence = sequences.Rows(4)
    with OrderedEnqueuer(sequence, use_multiprocessing) as enqueuer:
        enqueuer.start(workers=2, max_queue_size=1)
        assert numbers(enqueuer, 1) == [0]
        sequence.rows += [4, 5]
        assert set(numbers(enqueuer, 40)[-12:]) == {0, 1, 2, 3, 4, 5}


def test_a_sequence_is_packed_once_per_epoch() -> None:
    """At the start, and after each `on_epoch_end`, however many workers there are."""
    sequence = sequences.Packed()
    with Run(sequence, workers=3) as runner:
        for epoch in range(4):
            assert sequence.packed == 1 + epoch
            take(runner, 3 + epoch)
            runner.join_end_of_epoch(20)
        assert sequence.packed == 5


def test_workers_live_on_through_epochs() -> None:
    """`on_epoch_end` costs one transfer of the sequence, and no new processes."""
    with Run(sequences.Growing(20)) as runner:
        workers = [{batch[3] for batch in take(runner, 20 + epoch)} for epoch in range(4)]
    assert len(set.union(*workers)) <= 2
