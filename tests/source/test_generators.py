"""Seeding that is left out while nobody draws gives what seeding every position gives."""

from __future__ import annotations

import copy
import os
import pickle
import random
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.arena.writer import Arena
from enqueued.codec.encode import encode
from enqueued.pool.draft import Draft
from enqueued.source import generators
from enqueued.source.building import build_in, empty
from enqueued.source.generators import Seeder, watch_generators
from enqueued.source.indexed import IndexedSource
from enqueued.source.seeding import at, mix, rng, seed_generators
from enqueued.source.spec import SourceSpec

legacy: Any = np.random  # the stubs do not know of its bit generator
inner: Any = random.seed.__self__  # type: ignore[attr-defined] # a bound method
watch_generators()
watched = legacy.get_bit_generator()


@pytest.fixture(autouse=True)
def _soon_idle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three makes are a streak here, of any duration; torch is not there."""
    monkeypatch.setattr(generators, "_STREAK", 3)
    monkeypatch.setattr(generators, "_GROWTH", 1)
    monkeypatch.setattr(generators, "_BRIEF_S", 1e9)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    yield
    legacy.set_bit_generator(watched)


class Always(IndexedSource):
    """Seeds for every position."""

    def make(self, epoch: int, index: int) -> Any:
        at(self._seed, epoch, index)
        seed_generators(self._seed, epoch, index)
        return self._fetch(epoch, index)


class Acting:
    """A source whose batch `index` is what the action at that place gives."""

    def __init__(self, actions: list[Callable[[], Any]]) -> None:
        self.actions = actions
        self.fetched: list[int] = []

    def __len__(self) -> int:
        return len(self.actions)

    def __getitem__(self, index: int) -> Any:
        self.fetched.append(index)
        return self.actions[index]()


def source(actions: list[Callable[[], Any]], kind: type[IndexedSource] = IndexedSource) -> IndexedSource:
    return kind(SourceSpec("sequence", "test:Acting", seed=3), Acting(actions))


def outcome(one: IndexedSource, epoch: int, index: int) -> str:
    try:
        return repr(one.make(epoch, index))
    except (Exception, SystemExit) as error:
        return repr((error, error.__context__))  # a first fetch leaves nothing behind


def nothing() -> Any:
    return "nothing"


def plain_words() -> Any:
    return hash(random.getstate())


def numpy_words(state: Any = None) -> Any:
    found: Any = np.random.get_state() if state is None else state
    return found[1].tobytes()[:99], found[2:]


def draw_and_put_back() -> Any:
    plain, numpy = random.getstate(), np.random.get_state()
    drawn = random.random(), np.random.rand()
    random.setstate(plain)
    np.random.set_state(numpy)
    return drawn


def draw_and_put_the_inner_back() -> Any:
    bits = legacy.get_bit_generator()
    plain, numpy = inner.getstate(), bits.state
    drawn = random.random(), np.random.rand()
    inner.setstate(plain)
    bits.state = numpy
    return drawn


def seed_alike() -> Any:
    random.seed(7)
    np.random.seed(7)


def draw_and_seed_alike() -> Any:
    drawn = random.random(), np.random.rand()
    seed_alike()
    return drawn


def other_bits() -> Any:
    legacy.set_bit_generator(np.random.PCG64(3))
    return np.random.rand()


def other_bits_for_once() -> Any:
    before = np.random.rand()
    legacy.set_bit_generator(np.random.PCG64(3))
    drawn = before, np.random.rand()
    legacy.set_bit_generator(watched)
    return drawn


def raising() -> Any:
    raise ValueError("always")


def raising_what_it_drew() -> Any:
    raise ValueError(random.random())


def exiting_with_what_it_drew() -> Any:
    raise SystemExit(np.random.rand())


def now_and_then() -> Any:
    return random.random() if np.random.rand() < 0.5 else None


QUIET: list[Callable[[], Any]] = [nothing, raising, lambda: float(rng().random())]
LOUD: dict[str, Callable[[], Any]] = {
    "random": random.random,
    "gauss": lambda: random.gauss(0, 1),
    "gauss of the inner": lambda: inner.gauss(0, 1),
    "shuffle": lambda: random.sample(range(9), 9),
    "a whole state of random": lambda: random.getrandbits(32 * 624),
    "rand": np.random.rand,
    "randn": np.random.randn,
    "a whole state of numpy": lambda: np.random.bytes(4 * 624)[:9],
    "a generator over the bits": lambda: np.random.Generator(legacy.get_bit_generator()).random(),
    "rng and rand": lambda: (rng().random(), np.random.rand()),
    "seeding": seed_alike,
    "seeding and drawing": lambda: (seed_alike(), random.gauss(0, 1), np.random.randn()),
    "drawing and seeding": draw_and_seed_alike,
    "seeding from nowhere": lambda: np.random.seed(),
    "setting": lambda: (np.random.set_state(np.random.RandomState(5).get_state()), np.random.randn()),
    "reading random": plain_words,
    "reading numpy": numpy_words,
    "reading numpy's own": lambda: numpy_words(legacy.mtrand._rand.get_state()),
    "reading the bits": lambda: int(legacy.get_bit_generator().state["state"]["key"].sum()),
    "jumping": lambda: legacy.get_bit_generator().jumped().random_raw(),
    "copying random": lambda: copy.copy(inner).random(),
    "copying numpy": lambda: copy.deepcopy(legacy.mtrand._rand).rand(),
    "pickling random": lambda: pickle.loads(pickle.dumps(inner)).random(),
    "pickling numpy": lambda: pickle.loads(pickle.dumps(legacy.mtrand._rand)).rand(),
    "drawing and putting back": draw_and_put_back,
    "drawing and putting the inner back": draw_and_put_the_inner_back,
    "other bits": other_bits,
    "other bits for once": other_bits_for_once,
    "raising": raising_what_it_drew,
    "exiting": exiting_with_what_it_drew,
    "now and then": now_and_then,
}


def idle(one: IndexedSource) -> bool:
    return one._seeder._idle


@given(st.lists(st.sampled_from([*QUIET * 12, *LOUD.values()]), min_size=1, max_size=60), st.randoms())
def test_any_mixture_of_batches_is_what_it_was(actions: list[Callable[[], Any]], order: random.Random) -> None:
    """Whatever draws, reads, seeds or raises between makes that do not, in any order: nobody can tell."""
    positions = [(epoch, index) for epoch in (0, 1) for index in range(len(actions))]
    order.shuffle(positions)
    told = []
    for kind in (Always, IndexedSource):
        one = source(actions, kind)
        told.append([outcome(one, *position) for position in positions])
        legacy.set_bit_generator(watched)
    assert told[0] == told[1]


@pytest.mark.parametrize("name", LOUD)
def test_one_that_touches_the_generators_is_made_again(name: str) -> None:
    """Each way to touch them is seen, and the batch is the same as after seeding."""
    actions = [nothing, nothing, nothing, nothing, LOUD[name], nothing]
    one, always = source(actions), source(actions, Always)
    for index in range(4):
        one.make(0, index)
    assert idle(one)
    found = outcome(one, 0, 4)
    assert not idle(one)
    assert one.user.fetched == [0, 1, 2, 3, 4, 4]
    legacy.set_bit_generator(watched)
    assert found == outcome(always, 0, 4)


@pytest.mark.parametrize("name", LOUD)
def test_one_that_touches_the_generators_always_is_always_seeded_for(name: str) -> None:
    """Also when it leaves no trace behind; it is made once."""
    one = source([LOUD[name]] * 12)
    for index in range(12):
        outcome(one, 0, index)
        assert not idle(one)
    assert one.user.fetched == list(range(12))


def test_a_streak_ends_with_the_last_one() -> None:
    """It may touch the generators like any other."""
    one = source([nothing, nothing, random.random])
    for index in range(3):
        one.make(0, index)
    assert not idle(one)


def test_one_that_leaves_the_generators_alone_is_made_once() -> None:
    """And after a streak the generators are left alone too."""
    one = source([*QUIET, *QUIET, *QUIET, *QUIET])
    for index in range(12):
        outcome(one, 0, index)
    assert idle(one)
    watch: Any = generators._watch
    marked = watch._marked
    assert outcome(one, 1, 0) == "'nothing'"
    watch.mark()
    assert watch._marked == marked
    assert one.user.fetched == [*range(12), 0]


def test_one_that_draws_now_and_then_is_seldom_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The streaks that are asked for grow: every hundredth of these draws, and one of ten thousand is made twice."""
    monkeypatch.setattr(generators, "_STREAK", 64)
    monkeypatch.setattr(generators, "_GROWTH", 8)
    one = source([*[nothing] * 99, random.random])
    for turn in range(100):
        for index in range(100):
            one.make(turn, index)
    assert len(one.user.fetched) == 10_001


def test_one_that_takes_long_is_always_seeded_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to gain."""
    monkeypatch.setattr(generators, "_BRIEF_S", 0.0)
    one = source([nothing] * 12)
    for index in range(12):
        one.make(0, index)
        assert not idle(one)


def test_a_child_inherits_seeded_generators() -> None:
    """What a child draws is not seen here, so the fork is."""

    def fork() -> str:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, repr(np.random.rand()).encode())  # Python itself reseeds random
            os._exit(0)
        os.close(write)
        with open(read, "rb") as pipe:
            told = pipe.read().decode()
        os.waitpid(pid, 0)
        return told

    actions = [nothing] * 4 + [fork]
    one, always = source(actions), source(actions, Always)
    for index in range(4):
        one.make(0, index)
    assert idle(one)
    assert outcome(one, 0, 4) == outcome(always, 0, 4)


def test_an_interrupt_is_not_swallowed() -> None:
    """A second fetch would go on as if nothing had been."""

    def interrupted() -> Any:
        random.random()
        raise KeyboardInterrupt

    one = source([nothing] * 4 + [interrupted])
    for index in range(4):
        one.make(0, index)
    with pytest.raises(KeyboardInterrupt):
        one.make(0, 4)
    assert one.user.fetched.count(4) == 1


def test_torch_is_seeded_for_every_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its generator is not watched. It may be loaded at any time."""
    one = source([nothing] * 6)
    for index in range(4):
        one.make(0, index)
    assert idle(one)
    seeds: list[int] = []
    torch: Any = ModuleType("torch")
    torch.default_generator = SimpleNamespace(manual_seed=seeds.append)
    monkeypatch.setitem(sys.modules, "torch", torch)
    one.make(0, 4)
    one.make(0, 5)
    assert seeds == [mix(3, 0, 4), mix(3, 0, 5)]


def test_two_sources_in_one_process_do_not_trust_each_other() -> None:
    """What one seeds for is not what the other marked."""
    actions = [nothing, nothing, nothing, nothing, now_and_then]
    one, two, always = source(actions), source(actions), source(actions, Always)
    order = [(one, 0), (two, 1), (one, 1), (one, 2), (one, 3), (two, 2), (one, 4), (two, 4), (one, 0), (two, 3)]
    assert [outcome(which, 0, index) for which, index in order] == [outcome(always, 0, index) for _, index in order]


def test_hooks_between_makes_are_seeded_for() -> None:
    """An idle source goes on as if it had been seeded for all the time."""
    actions = [nothing] * 4 + [now_and_then]
    one, always = source(actions), source(actions, Always)
    for index in range(4):
        one.make(0, index)
    drawn = []
    for which in (one, always):
        which._end_hook = lambda: drawn.append((random.random(), np.random.rand()))
        which.end_epoch()
    assert drawn[0] == drawn[1]
    assert outcome(one, 1, 4) == outcome(always, 1, 4)


def test_a_process_that_is_not_watched_seeds_for_every_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the states lie elsewhere."""
    monkeypatch.setattr(generators, "_watch", None)
    seeder = Seeder()
    drawn = [seeder.make(lambda epoch, index: random.random(), 1, 0, index) for index in range(9)]
    random.seed(mix(1, 0, 8))
    assert drawn[8] == random.random()


def test_a_batch_that_is_built_in_its_slot_may_be_made_again() -> None:
    """The first fetch has taken the slot's arrays; the second gets others, which are copied there."""
    arena = Arena(1, lambda segment, fd, size: None, lambda segment: None)
    arena.allowance = 1 << 30
    draft = Draft(arena.take, lambda slot: arena.give(slot.segment, slot.offset))

    def built(fill: Callable[[], float]) -> Callable[[], Any]:
        def build() -> Any:
            array = empty((50, 50), np.float64)
            array[...] = fill()
            return array

        return build

    actions = [built(lambda: 1.0)] * 4 + [built(np.random.rand), built(lambda: 2.0)]
    one, always = source(actions), source(actions, Always)
    expected = [bytes(arena_bytes(encode(always.make(0, index)))) for index in range(6)]
    build_in(draft.empty)
    try:
        for index in range(6):
            draft.begin()
            encoded = encode(one.make(0, index))
            written = draft.write(encoded)
            assert (written is None) == (index == 0)
            if written is not None:
                assert bytes(written[1]) == expected[index]
                del encoded
                assert draft.release()
                arena.give(written[0].segment, written[0].offset)
            draft.end()
    finally:
        build_in(None)
    assert one.user.fetched == [0, 1, 2, 3, 4, 4, 5]


def arena_bytes(encoded: Any) -> bytearray:
    memory = bytearray(encoded.nbytes)
    encoded.write_into(memory)
    return memory
