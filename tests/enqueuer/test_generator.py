"""GeneratorEnqueuer, with threads and with processes."""

from __future__ import annotations

import random
import threading
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import waiting
from enqueued import GeneratorEnqueuer, SequenceEnqueuer
from enqueuing import Broken, Draws, Noted, Numbered, Safe, Shard, batch, count, made, numbers

pytestmark = pytest.mark.timeout(60)


def started(iterator: Any, use_multiprocessing: bool = False, workers: int = 1, **more: Any) -> GeneratorEnqueuer:
    """An enqueuer that runs; that processes have copies is known here."""
    queue = {"max_queue_size": more.pop("max_queue_size")} if "max_queue_size" in more else {}
    enqueuer = GeneratorEnqueuer(iterator, use_multiprocessing, **more)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        enqueuer.start(workers, **queue)
    return enqueuer


@pytest.mark.parametrize("workers", [0, 1])
def test_a_generator_is_read_in_order(workers: int) -> None:
    """By one thread, or by the caller."""
    with started(count(None), workers=workers) as enqueuer:
        assert numbers(enqueuer, 100) == list(range(100))


def test_an_iterator_is_read_in_order(use_multiprocessing: bool) -> None:
    """By one worker, thread or process."""
    with started(Safe(), use_multiprocessing) as enqueuer:
        assert numbers(enqueuer, 100) == list(range(100))


@pytest.mark.parametrize("workers", [0, 1])
def test_what_was_made_is_delivered_before_the_end(use_multiprocessing: bool, workers: int) -> None:
    """Then the iterator ends, and it is running no more; another `get` finds the end too."""
    enqueuer = started(Safe(7), use_multiprocessing, workers)
    assert numbers(enqueuer) == list(range(7))
    assert not enqueuer.is_running()
    assert numbers(enqueuer) == []
    enqueuer.stop()


@pytest.mark.parametrize("workers", [2, 4])
def test_threads_share_one_iterator(workers: int) -> None:
    """Each thing once, and all of it, whoever meets the end first."""
    for stop in (0, 1, 5, 300):
        enqueuer = started(Safe(stop), workers=workers)
        assert sorted(numbers(enqueuer)) == list(range(stop))
        assert not enqueuer.is_running()
        enqueuer.stop()


def test_all_threads_call_the_iterator() -> None:
    """At the same time, without a lock around it: here none goes on before all three are inside."""
    with started(Together(3), workers=3) as enqueuer:
        assert numbers(enqueuer, 9) == [0] * 9


class Together:
    """An iterator that gives nothing before so many threads have asked."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count)
        self.asked: set[int] = set()

    def __next__(self) -> Any:
        if threading.get_ident() not in self.asked:
            self.asked.add(threading.get_ident())
            self.barrier.wait(10)
        return batch(0)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("max_queue_size", [1, 4])
def test_the_look_ahead_is_bounded(
    use_multiprocessing: bool, workers: int, max_queue_size: int, tmp_path: Path
) -> None:
    """`max_queue_size + 1` batches are made and not taken, by all workers together."""
    most = max_queue_size + 1
    least = max_queue_size if use_multiprocessing else most  # a pool may learn of a taken batch with the next one
    with started(Noted(tmp_path), use_multiprocessing, workers, max_queue_size=max_queue_size) as enqueuer:
        for taken in range(15):
            waiting.until(lambda taken=taken: made(tmp_path) >= taken + least, within=20)  # type: ignore[misc] # mypy infers no default
            assert made(tmp_path) <= taken + most
            numbers(enqueuer, 1)


def test_none_is_skipped() -> None:
    """What is None is no batch."""
    with started(iter([None, 1, None, None, 2])) as enqueuer:
        assert list(enqueuer.get()) == [1, 2]


def test_threads_refuse_a_plain_generator() -> None:
    """It can run in one thread only; nobody locks it behind the program's back."""
    enqueuer = started(count(5), workers=2)
    with pytest.raises(RuntimeError, match="not thread-safe"):
        numbers(enqueuer)
    assert not enqueuer.is_running()
    enqueuer.stop()


def test_a_generator_inside_the_iterator_is_found() -> None:
    """What Python says of it is said in the same words."""
    enqueuer = started(Wrapped(), workers=4)
    with pytest.raises(RuntimeError, match="not thread-safe"):
        numbers(enqueuer, 2)
    enqueuer.stop()


class Wrapped:
    """Calls a generator that does not go on before another thread has called it too."""

    def __init__(self) -> None:
        self.refused = threading.Event()
        self.inner = self.steps()

    def steps(self) -> Any:
        assert self.refused.wait(10)
        yield batch(0)

    def __next__(self) -> Any:
        try:
            return next(self.inner)
        except ValueError:
            self.refused.set()
            raise


def test_an_exception_is_raised_at_its_place(use_multiprocessing: bool) -> None:
    """After what came before it, with its own type."""
    iterator: Any = Broken() if use_multiprocessing else count(3, ZeroDivisionError)
    enqueuer = started(iterator, use_multiprocessing)
    batches = enqueuer.get()
    assert [int(found[0]) for found in islice(batches, 3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError, match="at the end") as caught:
        next(batches)
    assert "at the end" in str(caught.value.__cause__)
    assert not enqueuer.is_running()
    assert list(batches) == []
    enqueuer.stop()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_start_goes_on_where_it_was(workers: int) -> None:
    """What threads had made and nobody had taken comes first, so that nothing is lost."""
    enqueuer = GeneratorEnqueuer(count(60))
    taken = []
    for run in range(4):
        enqueuer.start(workers if run % 2 == 0 else 1, max_queue_size=4)
        taken += numbers(enqueuer, 10)
        enqueuer.stop()
    enqueuer.start(workers)
    assert taken + numbers(enqueuer) == list(range(60))
    enqueuer.stop()


def test_processes_go_on_where_this_program_is() -> None:
    """Each start gives them copies of the iterator as it is here: they have not moved it, and the program may."""
    iterator = Safe(6)
    enqueuer = GeneratorEnqueuer(iterator, use_multiprocessing=True)
    for first in (0, 0, 2):
        while iterator.number < first:
            next(iterator)
        enqueuer.start()
        assert numbers(enqueuer) == list(range(first, 6))
        enqueuer.stop()


def test_nothing_is_lost_between_runs_of_threads() -> None:
    """The same with several threads, in whatever order."""
    enqueuer = GeneratorEnqueuer(Safe(2000))
    taken = []
    for run in range(20):
        enqueuer.start(1 + run % 3, max_queue_size=1 + run % 5)
        taken += numbers(enqueuer, 50)
        enqueuer.stop()
    enqueuer.start(2)
    assert sorted(taken + numbers(enqueuer)) == list(range(2000))
    enqueuer.stop()


def test_its_arguments_are_its_attributes() -> None:
    """With the names and defaults of the classes that programs were written for."""
    iterator = count(1)
    enqueuer = GeneratorEnqueuer(iterator)
    assert isinstance(enqueuer, SequenceEnqueuer)
    assert enqueuer.sequence is iterator
    assert (enqueuer.use_multiprocessing, enqueuer.random_seed) == (False, None)
    other = GeneratorEnqueuer(generator=iterator, use_multiprocessing=True, wait_time=None, random_seed=3)
    assert (other.sequence, other.use_multiprocessing, other.random_seed) == (iterator, True, 3)
    assert GeneratorEnqueuer(sequence=iterator).sequence is iterator


def test_it_takes_one_iterator() -> None:
    """By either name, not by both and not by none."""
    with pytest.raises(TypeError, match="one iterator"):
        GeneratorEnqueuer()
    with pytest.raises(TypeError, match="one iterator"):
        GeneratorEnqueuer(sequence=count(1), generator=count(1))


def test_wait_time_has_no_effect_but_a_warning() -> None:
    """As in the last versions of the class, also when it is 0."""
    with pytest.warns(DeprecationWarning, match="wait_time"):
        enqueuer = GeneratorEnqueuer(count(2), wait_time=0)
    enqueuer.start()
    assert numbers(enqueuer) == [0, 1]
    enqueuer.stop()


def test_what_is_no_iterator_is_refused_at_once() -> None:
    """Each with what to pass instead."""
    for wrong, instead in (
        (count, r"count is a generator function; pass what it returns"),
        (Numbered(), r"OrderedEnqueuer"),
        ([1, 2], r"OrderedEnqueuer, or pass iter"),
        ({1, 2}, r"pass iter"),
        (5, r"no __next__"),
    ):
        with pytest.raises(TypeError, match=instead):
            GeneratorEnqueuer(wrong)


def test_processes_warn_once_that_they_have_copies() -> None:
    """Before anything is started; one worker has the only copy, and threads have none."""
    enqueuer = GeneratorEnqueuer(Safe(3), use_multiprocessing=True)
    with pytest.raises(UserWarning, match="own copy of the iterator"):  # warnings are errors here
        enqueuer.start(2)
    threads = GeneratorEnqueuer(Safe(3))
    threads.start(2)
    assert len(numbers(threads)) == 3
    threads.stop()


def test_the_warning_comes_once() -> None:
    """Not with each start of the same enqueuer."""
    enqueuer = GeneratorEnqueuer(Safe(3), use_multiprocessing=True)
    with pytest.warns(UserWarning, match="each of 2 worker processes"):
        enqueuer.start(2)
    for _ in range(2):
        assert len(numbers(enqueuer)) == 6
        enqueuer.stop()
        enqueuer.start(2)  # warnings are errors here
    enqueuer.stop()


def test_each_process_has_a_stream_of_its_own(use_multiprocessing: bool) -> None:
    """N copies, interleaved: each gives all of its own, in its order."""
    if not use_multiprocessing:
        return
    enqueuer = started(Safe(5), use_multiprocessing, workers=2)
    assert sorted(numbers(enqueuer)) == sorted([*range(5), *range(5)])
    assert not enqueuer.is_running()
    enqueuer.stop()


def test_a_generator_can_shard_itself(use_multiprocessing: bool) -> None:
    """`enqueued.get_worker_info()` says which part is whose."""
    if not use_multiprocessing:
        return
    enqueuer = started(Shard(50), use_multiprocessing, workers=3)
    assert sorted(numbers(enqueuer)) == list(range(50))
    enqueuer.stop()


def drawn(workers: int, random_seed: int | None) -> dict[int, list[tuple[int, int]]]:
    """What each worker process draws."""
    with started(Draws(), True, workers, random_seed=random_seed) as enqueuer:
        found: dict[int, list[tuple[int, int]]] = {}
        for worker, one, other in islice(enqueuer.get(), 12):
            found.setdefault(int(worker), []).append((int(one), int(other)))
    return found


@pytest.mark.parametrize("seed", [40, 0])
def test_worker_k_is_seeded_with_the_seed_and_k(use_multiprocessing: bool, seed: int) -> None:
    """`random` and NumPy, as if the worker had called their `seed`; so each run is the same."""
    if not use_multiprocessing:
        return
    found = drawn(workers=2, random_seed=seed)
    assert set(found) == {0, 1}
    for worker, pairs in found.items():
        own, numpys = random.Random(seed + worker), np.random.RandomState(seed + worker)
        assert pairs == [(own.getrandbits(62), int(numpys.randint(1 << 62))) for _ in pairs]


def test_without_a_seed_workers_draw_different_numbers(use_multiprocessing: bool) -> None:
    """Nor does a second start draw those of the first."""
    if not use_multiprocessing:
        return
    pairs = [pair for _ in range(2) for each in drawn(2, None).values() for pair in each]
    assert len(set(pairs)) == len(pairs) == 24
