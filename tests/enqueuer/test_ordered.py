"""OrderedEnqueuer, with threads and with processes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import waiting
from enqueued import OrderedEnqueuer, SequenceEnqueuer
from enqueued.enqueuer import threads
from enqueued.enqueuer.runners import Setup
from enqueued.errors import RemoteError
from enqueuing import (
    Dataset,
    Drawing,
    Epochs,
    Failing,
    Numbered,
    Pairs,
    Silent,
    TwoArguments,
    Unpicklable,
    WithNone,
    batch,
    made,
    numbers,
)

pytestmark = pytest.mark.timeout(60)


def started(sequence: Any, use_multiprocessing: bool, workers: int = 2, **more: Any) -> OrderedEnqueuer:
    """An enqueuer that runs."""
    queue = {"max_queue_size": more.pop("max_queue_size")} if "max_queue_size" in more else {}
    enqueuer = OrderedEnqueuer(sequence, use_multiprocessing, **more)
    enqueuer.start(workers, **queue)
    return enqueuer


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_batches_come_in_order_without_end(use_multiprocessing: bool, workers: int) -> None:
    """Epoch after epoch, whichever worker is done first; nothing is lost and nothing comes twice."""
    with started(Numbered(7, uneven=True), use_multiprocessing, workers) as enqueuer:
        assert enqueuer.workers == workers
        assert numbers(enqueuer, 50) == [number % 7 for number in range(50)]


def test_batches_are_whatever_the_sequence_gives(use_multiprocessing: bool) -> None:
    """Nested structures of arrays come as they are, with values and types."""
    with started(Pairs(), use_multiprocessing) as enqueuer:
        (x, y), names = next(enqueuer.get())
    assert (x.shape, x.dtype, names) == ((2, 3), np.float32, ["a", "b"])
    assert y == {"label": 1}


def test_none_is_skipped(use_multiprocessing: bool) -> None:
    """What is None is no batch."""
    with started(WithNone(5), use_multiprocessing) as enqueuer:
        assert numbers(enqueuer, 7) == [0, 2, 4, 0, 2, 4, 0]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_epoch_ends_when_its_last_batch_is_taken(use_multiprocessing: bool, workers: int, tmp_path: Path) -> None:
    """`on_epoch_end` runs once, in this program, before any batch of the next epoch; its effects reach all workers."""
    sequence = Epochs(3, tmp_path)
    with started(sequence, use_multiprocessing, workers) as enqueuer:
        assert numbers(enqueuer, 13) == [0, 1, 2, 100, 101, 102, 103, 200, 201, 202, 203, 204, 300]
    assert sequence.ends == [(os.getpid(), 3), (os.getpid(), 7), (os.getpid(), 12)]


def test_on_epoch_end_waits_for_the_consumer(tmp_path: Path) -> None:
    """All of the epoch is made, and nothing happens before the last one of it is taken; then it does by itself."""
    sequence = Epochs(3, tmp_path)
    with started(sequence, use_multiprocessing=False) as enqueuer:
        assert numbers(enqueuer, 2) == [0, 1]
        waiting.until(lambda: made(tmp_path) == 3)
        assert sequence.ends == []
        assert numbers(enqueuer, 1) == [2]
        waiting.until(lambda: sequence.ends)


def test_the_length_is_read_in_every_epoch() -> None:
    """A sequence that grows without telling is followed from its next epoch on."""
    sequence = Numbered(2)
    with started(sequence, use_multiprocessing=False, workers=1, max_queue_size=1) as enqueuer:
        batches = enqueuer.get()
        assert int(next(batches)[0]) == 0
        sequence.length = 3
        assert [int(next(batches)[0]) for _ in range(40)][-6:] in ([0, 1, 2] * 2, [1, 2, 0] * 2, [2, 0, 1] * 2)


def test_the_next_epoch_is_made_meanwhile(use_multiprocessing: bool, tmp_path: Path) -> None:
    """Without `on_epoch_end` there is nothing to wait for at the end of an epoch."""
    with started(Numbered(3, tmp_path), use_multiprocessing):
        waiting.until(lambda: made(tmp_path) == 11, within=20)


def test_an_empty_on_epoch_end_counts_as_none(use_multiprocessing: bool, tmp_path: Path) -> None:
    """That of the base class, above all."""
    with started(Silent(3, tmp_path), use_multiprocessing):
        waiting.until(lambda: made(tmp_path) == 11, within=20)


@pytest.mark.parametrize("max_queue_size", [1, 4, 10])
def test_the_look_ahead_is_bounded(use_multiprocessing: bool, max_queue_size: int, tmp_path: Path) -> None:
    """`max_queue_size + 1` batches are made and not taken, all of them when the consumer is slow, and never more."""
    most = max_queue_size + 1
    least = max_queue_size if use_multiprocessing else most  # a pool may learn of a taken batch with the next one
    with started(Numbered(1000, tmp_path), use_multiprocessing, 3, max_queue_size=max_queue_size) as enqueuer:
        for taken in range(20):
            waiting.until(lambda taken=taken: made(tmp_path) >= taken + least, within=20)  # type: ignore[misc] # mypy infers no default
            assert made(tmp_path) <= taken + most
            numbers(enqueuer, 1)
            assert made(tmp_path) <= taken + 1 + most


@pytest.mark.parametrize("max_queue_size", [0, -1])
def test_a_queue_of_nothing_has_no_bound(use_multiprocessing: bool, max_queue_size: int, tmp_path: Path) -> None:
    """0 or less: as many batches as come, in order."""
    with started(Numbered(1000, tmp_path), use_multiprocessing, max_queue_size=max_queue_size) as enqueuer:
        waiting.until(lambda: made(tmp_path) > 300, within=20)
        assert numbers(enqueuer, 1100) == [number % 1000 for number in range(1100)]


def test_memory_bounds_a_queue_without_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A quarter of what is available; room comes back with each batch that is taken."""
    monkeypatch.setattr("enqueued.enqueuer.weight.available_bytes", lambda: 4 * 8 * 20)
    with started(Numbered(1000, tmp_path), use_multiprocessing=False, max_queue_size=0) as enqueuer:
        waiting.until(lambda: made(tmp_path) >= 20)
        assert made(tmp_path) <= 22
        numbers(enqueuer, 10)
        waiting.until(lambda: made(tmp_path) >= 30)
        assert made(tmp_path) <= 32


def test_shuffling_permutes_each_epoch(use_multiprocessing: bool) -> None:
    """Each batch once per epoch, in an order that differs from epoch to epoch."""
    with started(Numbered(20), use_multiprocessing, shuffle=True) as enqueuer:
        epochs = [numbers(enqueuer, 20) for _ in range(3)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, list(range(20))]}) == 4


def test_the_global_seed_gives_the_order(use_multiprocessing: bool) -> None:
    """`random.seed` in the program brings the same orders again; each start without it, another one."""
    orders = []
    for seed in (7, 7, None):
        if seed is not None:
            random.seed(seed)
        with started(Numbered(20), use_multiprocessing, shuffle=True) as enqueuer:
            orders.append(numbers(enqueuer, 40))
    assert orders[0] == orders[1]
    assert orders[2] != orders[1]


def test_without_shuffling_the_global_state_is_left_alone() -> None:
    """A program's own random numbers do not depend on its enqueuers."""
    before = random.getstate()
    with started(Numbered(), use_multiprocessing=False) as enqueuer:
        numbers(enqueuer, 6)
    assert random.getstate() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_is_raised_at_its_place(use_multiprocessing: bool, workers: int) -> None:
    """With its own type, after the batches before it; its cause shows where the worker was; then all is over."""
    enqueuer = started(Failing(ZeroDivisionError, "no such thing"), use_multiprocessing, workers)
    batches = enqueuer.get()
    assert [int(next(batches)[0]) for _ in range(2)] == [0, 1]
    with pytest.raises(ZeroDivisionError, match="no such thing") as caught:
        next(batches)
    assert "in fail" in str(caught.value.__cause__)
    assert not enqueuer.is_running()
    assert list(batches) == list(enqueuer.get()) == []
    enqueuer.stop()


def test_an_exception_of_two_arguments_arrives(use_multiprocessing: bool) -> None:
    """As it is, though its pickle cannot be loaded by the usual way."""
    enqueuer = started(Failing(TwoArguments, "no file", 3), use_multiprocessing)
    with pytest.raises(TwoArguments, match="no file at 3") as caught:
        numbers(enqueuer)
    assert (caught.value.what, caught.value.where) == ("no file", 3)
    enqueuer.stop()


def test_an_exception_that_cannot_travel_is_told(use_multiprocessing: bool) -> None:
    """Threads raise it as it is; from a process its type, text and traceback come in another one."""
    enqueuer = started(Failing(Unpicklable, "holds a lock"), use_multiprocessing)
    with pytest.raises(RemoteError if use_multiprocessing else Unpicklable, match="holds a lock") as caught:
        numbers(enqueuer)
    assert "in fail" in str(caught.value.__cause__)
    if isinstance(caught.value, RemoteError):
        assert "Unpicklable: holds a lock" in str(caught.value)
        assert "in fail" in caught.value.traceback
    enqueuer.stop()


def test_the_users_own_cause_is_kept() -> None:
    """Nothing is put in the place of what the user said by `raise … from`."""
    enqueuer = started(Chained(), use_multiprocessing=False)
    with pytest.raises(KeyError) as caught:
        numbers(enqueuer)
    assert isinstance(caught.value.__cause__, OSError)
    enqueuer.stop()


class Chained(Numbered):
    def __getitem__(self, index: int) -> Any:
        raise KeyError(index) from OSError("disk")


def test_a_stop_iteration_is_not_an_end(use_multiprocessing: bool) -> None:
    """An iterator that ends because of a mistake in `__getitem__` would read as a short epoch."""
    enqueuer = started(Failing(StopIteration), use_multiprocessing)
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        numbers(enqueuer)
    enqueuer.stop()


def test_a_start_begins_at_the_first_batch(use_multiprocessing: bool) -> None:
    """After a stop, with the sequence as it is now; also after an error, which stops by itself."""
    sequence = Failing(ValueError, "once", length=4)
    enqueuer = OrderedEnqueuer(sequence, use_multiprocessing)
    enqueuer.start()
    with pytest.raises(ValueError, match="once"):
        numbers(enqueuer)
    sequence.index, sequence.length = -1, 3
    enqueuer.start(2)
    assert numbers(enqueuer, 4) == [0, 1, 2, 0]
    enqueuer.stop()
    sequence.length = 2
    enqueuer.start()
    assert numbers(enqueuer, 3) == [0, 1, 0]
    enqueuer.stop()


def test_a_second_start_is_an_error(use_multiprocessing: bool) -> None:
    """It says what to do, and the first run goes on."""
    with started(Numbered(), use_multiprocessing) as enqueuer:
        with pytest.raises(RuntimeError, match=r"running; stop\(\) it"):
            enqueuer.start()
        assert numbers(enqueuer, 2) == [0, 1]


def test_it_can_be_stopped_at_any_time(use_multiprocessing: bool) -> None:
    """Before a start and twice; it is running in between, and not after."""
    enqueuer = OrderedEnqueuer(Numbered(), use_multiprocessing)
    enqueuer.stop()
    assert not enqueuer.is_running()
    assert list(enqueuer.get()) == []
    enqueuer.start()
    assert enqueuer.is_running()
    batches = enqueuer.get()
    next(batches)
    enqueuer.close()
    enqueuer.stop(timeout=1)
    assert not enqueuer.is_running()
    assert list(batches) == []


def test_nothing_is_left_after_a_stop() -> None:
    """All worker threads have ended when it returns, and when a `with` is left."""
    before = threading.active_count()
    enqueuer = started(Numbered(uneven=True), use_multiprocessing=False, workers=4)
    numbers(enqueuer, 3)
    assert threading.active_count() == before + 4
    enqueuer.stop()
    assert threading.active_count() == before
    with started(Numbered(uneven=True), use_multiprocessing=False, workers=4) as enqueuer:
        numbers(enqueuer, 3)
    assert threading.active_count() == before
    assert not enqueuer.is_running()


def test_its_arguments_are_its_attributes() -> None:
    """With the defaults of the classes that programs were written for."""
    sequence = Numbered()
    enqueuer = OrderedEnqueuer(sequence)
    assert isinstance(enqueuer, SequenceEnqueuer)
    assert enqueuer.sequence is sequence
    assert (enqueuer.use_multiprocessing, enqueuer.shuffle, enqueuer.workers) == (False, False, 0)
    assert OrderedEnqueuer(sequence=sequence, use_multiprocessing=True, shuffle=True).shuffle
    with pytest.raises(TypeError, match="abstract"):
        SequenceEnqueuer(sequence)  # type: ignore[abstract] # that is the test


def test_anything_with_batches_by_number_is_a_sequence(use_multiprocessing: bool) -> None:
    """A dataset of Keras 3: `num_batches`, and `on_epoch_begin`, which runs before the first epoch too."""
    with started(Dataset(), use_multiprocessing) as enqueuer:
        assert numbers(enqueuer, 5) == [10, 11, 20, 21, 30]


def test_what_is_no_sequence_is_refused() -> None:
    """At once, with the class that takes it."""
    for other in (iter([1]), (batch(number) for number in range(3)), 5):
        with pytest.raises(TypeError, match="GeneratorEnqueuer"):
            OrderedEnqueuer(other)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_end_of_an_epoch_can_be_waited_for(use_multiprocessing: bool, workers: int) -> None:
    """`on_epoch_end` has run then; each end is waited for once."""
    sequence = Epochs(2)
    with started(sequence, use_multiprocessing, workers) as enqueuer:
        for ends in (1, 2):
            numbers(enqueuer, 1 + ends)
            enqueuer.join_end_of_epoch()
            assert len(sequence.ends) == ends
        enqueuer.join_end_of_epoch(timeout=0)


def test_the_end_of_an_epoch_without_a_hook_can_be_waited_for(use_multiprocessing: bool) -> None:
    """It is there when the last batch is taken; a stop ends the waiting too."""
    with started(Numbered(3), use_multiprocessing) as enqueuer, ThreadPoolExecutor(1) as pool:
        waits = pool.submit(enqueuer.join_end_of_epoch)
        numbers(enqueuer, 3)
        waits.result(10)
        waits = pool.submit(enqueuer.join_end_of_epoch, 60)
        enqueuer.stop()
        waits.result(10)


def test_several_consumers_share_the_batches(use_multiprocessing: bool) -> None:
    """Each batch goes to one of them."""
    with started(Numbered(300), use_multiprocessing) as enqueuer, ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda _: numbers(enqueuer, 100), range(3)))
    assert sorted(number for part in parts for number in part) == list(range(300))
    assert all(part == sorted(part) for part in parts)


def test_randomness_follows_from_the_place() -> None:
    """`enqueued.rng()` draws the same numbers however many threads make the batches."""
    drawn = []
    for workers in (1, 3):
        runner = threads.ordered(Drawing(4), Setup(workers, look_ahead=11, seed=5))
        drawn.append([int(runner.take()[0]) for _ in range(8)])
        runner.stop(None)
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 8


def test_each_run_draws_other_numbers(use_multiprocessing: bool) -> None:
    """A second start, another enqueuer: no batch of theirs has the random numbers of another one."""
    drawn = []
    for _ in range(3):
        random.seed(1)
        with started(Drawing(4), use_multiprocessing) as enqueuer:
            drawn += numbers(enqueuer, 8)
    assert len(set(drawn)) == 24


def test_a_program_that_forgets_to_stop_ends(use_multiprocessing: bool) -> None:
    """The interpreter's exit waits for nobody, and says nothing."""
    command = [sys.executable, "-m", "enqueuing", "processes" if use_multiprocessing else "threads"]
    folder = Path(__file__).parents[1] / "support"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 1, 2, 3, 4, 0, 1]\n", "")


def test_an_enqueuer_that_is_dropped_ends_its_run() -> None:
    """Its threads, which nobody could stop any more, are gone."""
    enqueuer = started(Numbered(), use_multiprocessing=False)
    batches = enqueuer.get()
    next(batches)
    workers = [thread for thread in threading.enumerate() if thread.name.startswith("enqueued-worker")]
    assert len(workers) == 2
    del enqueuer, batches
    waiting.until(lambda: not any(thread.is_alive() for thread in workers))


def test_a_long_look_at_threads_finds_nothing_lost() -> None:
    """Tens of thousands of batches in tiny epochs with small queues: order, and an end whenever it is asked for."""
    for workers, max_queue_size, length in ((2, 1, 1), (3, 1, 7), (4, 2, 1000), (2, 10, 3), (2, 0, 5)):
        with started(
            Numbered(length), use_multiprocessing=False, workers=workers, max_queue_size=max_queue_size
        ) as one:
            assert all(int(found[0]) == at % length for at, found in enumerate(islice(one.get(), 4000)))
