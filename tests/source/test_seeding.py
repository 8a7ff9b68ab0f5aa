from __future__ import annotations

import random
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.source import seeding
from enqueued.source.seeding import WorkerInfo, at, enter, get_worker_info, leave, mix, rng, seed_generators

any_64_bits = st.integers(0, 2**64 - 1)


@pytest.fixture(autouse=True)
def _no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)


def drawn() -> tuple[float, float]:
    return random.random(), float(np.random.random())


def test_mix_gives_these_numbers_for_ever() -> None:
    """Stored positions are resumed by later versions: these numbers never change."""
    assert [mix(0, 0, 0), mix(1, 0, 0), mix(0, 1, 0), mix(0, 0, 1), mix(7, 3, 117), mix(2**63, 10**6, -1)] == GOLDEN


GOLDEN = [
    2558736989570252433,
    12793040940332582595,
    3391245575278488096,
    17913671590881668180,
    6489923725314521486,
    15635697270356084857,
]


@given(any_64_bits, st.integers(0, 2**32), st.integers(0, 2**40), st.integers(0, 2**40))
def test_no_two_batches_of_an_epoch_share_a_number(seed: int, epoch: int, one: int, other: int) -> None:
    """Within an epoch the mix is one to one."""
    assert (mix(seed, epoch, one) == mix(seed, epoch, other)) == (one == other)


@given(st.integers(), st.integers(0, 2**40), st.integers(-3, 2**40))
def test_mix_is_64_bits_whatever_the_seed(seed: int, epoch: int, index: int) -> None:
    """Negative and huge seeds are taken modulo 2**64."""
    assert 0 <= mix(seed, epoch, index) < 2**64
    assert mix(seed, epoch, index) == mix(seed + 2**64, epoch, index)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_bit_of_seed_epoch_or_index_changes_half_of_the_bits(which: int) -> None:
    """Neighbouring positions get unrelated numbers: 32 of 64 bits differ on average, with a standard error of 0.1."""
    flips = []
    for trial in range(1600):
        position = [trial * 31, trial % 97, trial]
        near = list(position)
        near[which] ^= 1 << (trial % 12)
        flips.append((mix(*position) ^ mix(*near)).bit_count())
    assert 31.5 < np.mean(flips) < 32.5
    assert min(flips) > 12


def test_numpy_seeds_seldom_collide() -> None:
    """NumPy takes the upper 32 bits: 20,000 positions share about 0.05 seeds by chance."""
    assert len({mix(0, 0, n) >> 32 for n in range(20_000)}) > 19_996


def test_the_generators_follow_the_position_alone() -> None:
    """Whatever was drawn before, the same position draws the same numbers, and the next one others."""
    seed_generators(1, 2, 3)
    first = drawn()
    np.random.standard_normal()  # leaves half of a pair behind
    random.gauss(0, 1)
    seed_generators(1, 2, 3)
    assert drawn() == first
    seed_generators(1, 2, 4)
    assert drawn() != first


def test_half_drawn_normal_pairs_are_forgotten() -> None:
    """Both generators keep the second of two normal numbers; seeding drops it."""
    seed_generators(1, 2, 3)
    fresh = random.gauss(0, 1), float(np.random.standard_normal())
    seed_generators(1, 2, 3)
    random.gauss(0, 1)
    np.random.standard_normal()
    seed_generators(1, 2, 3)
    assert (random.gauss(0, 1), float(np.random.standard_normal())) == fresh


def test_another_bit_generator_is_seeded_too() -> None:
    """A user may put PCG64 under numpy.random; it follows the position as well."""
    legacy: Any = np.random  # the stubs do not know that one can be put in
    before = legacy.get_bit_generator()
    try:
        legacy.set_bit_generator(np.random.PCG64(0))
        seed_generators(1, 2, 3)
        first = float(np.random.random())
        seed_generators(1, 2, 3)
        assert float(np.random.random()) == first
        assert isinstance(legacy.get_bit_generator(), np.random.PCG64)
    finally:
        legacy.set_bit_generator(before)


def test_numpy_is_not_imported_for_seeding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source without NumPy does not pay for it."""
    monkeypatch.delitem(sys.modules, "numpy.random")
    seed_generators(1, 2, 3)
    assert "numpy.random" not in sys.modules


def test_torch_is_seeded_when_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its default generator gets the 64-bit number; a torch that is still being imported has none yet."""
    seeds: list[int] = []
    torch = ModuleType("torch")
    monkeypatch.setitem(sys.modules, "torch", torch)
    seed_generators(1, 2, 3)
    torch.default_generator = SimpleNamespace(manual_seed=seeds.append)  # type: ignore[attr-defined]
    seed_generators(1, 2, 3)
    assert seeds == [mix(1, 2, 3)]


def test_rng_gives_the_same_numbers_for_the_same_position() -> None:
    """One generator per position: the same object within it, the same numbers when it is made again."""
    at(1, 2, 3)
    first = rng().random(4).tolist()
    assert rng() is rng()
    at(1, 2, 4)
    assert rng().random(4).tolist() != first
    at(1, 2, 3)
    assert rng().random(4).tolist() == first


def test_rng_outside_a_worker_says_what_to_use() -> None:
    """The trainer's process has no position."""
    leave()
    with pytest.raises(RuntimeError, match=r"only inside a worker.*default_rng"):
        rng()


def test_rng_in_a_thread_of_the_users_says_how_to_share_it() -> None:
    """A helper thread cannot know which position it works for."""
    enter(WorkerInfo(0, 1))
    at(0, 0, 0)
    said: list[str] = []

    def ask() -> None:
        try:
            rng()
        except RuntimeError as error:
            said.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert "hand rng().spawn(n) to the threads" in said[0]


def test_threads_have_positions_of_their_own() -> None:
    """Two workers of a thread pool draw what two processes would, whatever their order."""
    at(5, 0, 0)
    alone = [float(rng().random())]
    at(5, 0, 1)
    alone.append(float(rng().random()))
    barrier = threading.Barrier(2)
    found = [0.0, 0.0]
    infos: list[WorkerInfo | None] = [None, None]

    def work(index: int) -> None:
        enter(WorkerInfo(index, 2), whole_process=False)
        at(5, 0, index)
        barrier.wait()
        found[index] = float(rng().random())
        infos[index] = get_worker_info()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone
    assert infos == [WorkerInfo(index, 2, seed=5, epoch=0, index=index) for index in range(2)]


def test_worker_info_tells_worker_and_position() -> None:
    """What a generator needs to take its share of the data."""
    assert get_worker_info() is None
    enter(WorkerInfo(id=1, num_workers=4, replica=1, replicas=2, seed=9))
    assert get_worker_info() == WorkerInfo(1, 4, 1, 2, 9, 0, -1)
    at(9, 3, 117)
    assert get_worker_info() == WorkerInfo(1, 4, 1, 2, 9, 3, 117)
    leave()
    assert get_worker_info() is None


def test_worker_info_reaches_threads_of_the_users() -> None:
    """In a worker process everything belongs to that worker."""
    enter(WorkerInfo(1, 2))
    found: list[WorkerInfo | None] = []
    thread = threading.Thread(target=lambda: found.append(get_worker_info()))
    thread.start()
    thread.join()
    assert found == [WorkerInfo(1, 2)]


def test_the_indices_between_batches_are_no_batch() -> None:
    """What runs between batches shares no randomness with a batch."""
    assert seeding.OPENING < 0
    assert seeding.ENDING < 0
