"""Which epochs have an image, which are on their way, and which are let go."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from enqueued.pool.channel import Channel
from enqueued.pool.generation import Generation
from enqueued.pool.generations import Generations

Make = Callable[[int], Generations]


@pytest.fixture
def make() -> Iterator[Make]:
    """Generations of a source with `on_epoch_end`, whose first is ready; no process is behind any of them."""
    made: list[Generation] = []

    def begin(most: int) -> Generations:
        generations = Generations(most, made.append)
        channel, theirs = Channel.pair()
        theirs.close()
        first = Generation(0, channel)
        generations.add(first)
        first.ready = generations.hooked = True
        return generations

    yield begin
    for generation in made:
        generation.channel.close()


def arrive(generations: Generations, epoch: int) -> None:
    """The generation of an epoch is ready, and the daemon is told."""
    one = next(one for one in generations if one.epoch == epoch)
    one.ready = True
    generations.opening.discard(epoch)
    generations.proceed()


def epochs(generations: Generations) -> list[int]:
    """The epochs that have a living image, or will."""
    return sorted(one.epoch for one in generations if one.alive)


def test_an_epoch_is_made_out_of_the_nearest_before(make: Make) -> None:
    """In one go, once; a later one waits for it and goes on from there."""
    generations = make(4)
    assert generations.find(0) is not None
    assert generations.find(3) is None
    assert generations.find(3) is None
    assert generations.find(5) is None
    assert epochs(generations) == [0, 3]
    arrive(generations, 3)
    assert epochs(generations) == [0, 3, 5]
    found = generations.find(3)
    assert found is not None
    assert found.epoch == 3
    arrive(generations, 5)
    assert not generations.opening


def test_what_nobody_wants_any_more_is_not_made(make: Make) -> None:
    """An epoch on its way is forsaken when no group has been near it for a while, and not before."""
    generations = make(4)
    generations.find(1000)
    assert generations.forsaken({0, 1000}, 0.0) == []
    assert generations.forsaken({0}, 1.0) == []
    assert generations.forsaken({0}, 5.0) == []
    assert [one.epoch for one in generations.forsaken({0}, 7.0)] == [1000]
    assert generations.forsaken({1000}, 8.0) == []
    assert generations.forsaken({0}, 9.0) == []


def test_without_a_hook_one_image_is_all_epochs(make: Make) -> None:
    """Nothing is stepped towards."""
    generations = make(4)
    generations.hooked = False
    assert generations.find(7) is generations.find(0)
    assert generations.key(7) == 0


def test_surplus_images_are_let_go_but_the_first_and_the_newest(make: Make) -> None:
    """The oldest that nobody needs go, one for each too many, and are not counted again while they go."""
    generations = make(3)
    for epoch in range(1, 6):
        generations.find(epoch)
        arrive(generations, epoch)
    generations.retire({5})
    assert epochs(generations) == [0, 4, 5]
    generations.retire({5})
    assert epochs(generations) == [0, 4, 5]
    generations = make(1)
    for epoch in (1, 2):
        generations.find(epoch)
        arrive(generations, epoch)
    generations.retire({1, 2})
    assert epochs(generations) == [0, 1, 2]


def test_what_an_epoch_is_made_out_of_is_not_let_go(make: Make) -> None:
    """It seems unused, and is the step to the next; an earlier one goes meanwhile, however fast epochs follow."""
    generations = make(1)
    for epoch in (1, 2):
        generations.find(epoch)
        arrive(generations, epoch)
    generations.find(3)
    generations.retire({0})
    assert epochs(generations) == [0, 2, 3]


def test_what_cannot_be_made_is_given_up_with_all_that_follows(make: Make) -> None:
    """And asked for again it is tried again, once its remains are gone."""
    generations = make(4)
    generations.find(1)
    generations.find(3)
    broken = next(one for one in generations if one.epoch == 1)
    broken.alive = False
    assert generations.given_up(broken) == [1, 3]
    assert generations.find(1) is None
    generations.discard(broken)
    generations.proceed()
    assert [one.epoch for one in generations if one.alive] == [0, 1]
    assert broken not in list(generations)
