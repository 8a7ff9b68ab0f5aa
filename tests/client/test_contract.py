"""What an iteration promises, sentence by sentence: for clients that see all, for ranks and for split groups."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from enqueued import Client
from enqueued.errors import BatchTimeout, ConfigError, RankLost
from serving import Serving
from trainer import Trainer
from waiting import until

LENGTH = 13
COUNTING = ("--sequence", "sources.sized:Large", "--arg", "nbytes=100", "--arg", f"length={LENGTH}", "--workers", "2")
_groups = (f"g{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def daemon() -> Iterator[Serving]:
    """One daemon for all tests; each has groups of its own."""
    with Serving(*COUNTING) as serving:
        yield serving.ready()


class Ranks:
    """Ranks in one process; each of the functions is for all of them at once, in threads."""

    def __init__(self, daemon: Serving, size: int, **arguments: Any) -> None:
        arguments.setdefault("group", next(_groups))
        self.size = size
        self._pool = ThreadPoolExecutor(size)
        self.clients: list[Client] = self._all(
            lambda rank: daemon.client(rank=rank, world_size=size, **arguments), range(size)
        )

    def _all(self, function: Callable[[Any], Any], each: Any) -> list[Any]:
        return list(self._pool.map(function, each))

    def each(self, function: Callable[[Client], Any]) -> list[Any]:
        """What a function gives for each of them, by rank."""
        return self._all(function, self.clients)

    def epoch(self) -> list[list[int]]:
        """The numbers of an epoch's batches, by rank."""
        return self.each(lambda client: numbers(client))

    def steps(self, n: int) -> list[list[int]]:
        """The same for some steps."""
        return self.each(lambda client: numbers(client.steps(n)))

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *error: object) -> None:
        self.each(lambda client: client.close())
        self._pool.shutdown()


def numbers(batches: Any) -> list[int]:
    """The number that each batch tells."""
    return [int(number) for _, number in batches]


def share(rank: int, size: int, base: int = 0, length: int = LENGTH) -> list[int]:
    """The whole steps of a rank."""
    steps = (length - base) // size
    return [base + step * size + rank for step in range(steps)]


# -- "`iter(client)` is one epoch." ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 4])
def test_iter_is_one_epoch_of_ranks(daemon: Serving, size: int) -> None:
    """Each position once, in equal steps, each rank its own; epoch after epoch."""
    with Ranks(daemon, size) as ranks:
        for epoch in range(3):
            assert ranks.each(lambda client: client.epoch) == [epoch] * size
            assert ranks.epoch() == [share(rank, size) for rank in range(size)]


def test_padded_ranks_see_every_batch(daemon: Serving) -> None:
    """And some of the epoch's beginning again, which are marked."""
    with Ranks(daemon, 4, tail="pad") as ranks:
        taken = ranks.each(lambda client: [next(batches) for batches in [client.batches()] for _ in range(8)])
        assert [[batch.position for batch in mine[:4]] for mine in taken] == [
            [(0, (step * 4 + rank) % LENGTH) for step in range(4)] for rank in range(4)
        ]
        assert [[batch.epoch for batch in mine] for mine in taken] == [[0] * 4 + [1] * 4] * 4
        assert [batch.padded for mine in taken for batch in mine] == [
            step == 3 and rank > 0 for rank in range(4) for step in [*range(4)] * 2
        ]


# -- "In a private or coordinated group a new `iter` acknowledges what was yielded and begins the next epoch, also
#    after `break` (as with a DataLoader; Keras takes exactly `len()` and never asks for the end)." -----------------


def test_a_new_iter_acknowledges_what_was_yielded() -> None:
    """The daemon knows of it before anything new is asked for."""
    with Serving(*COUNTING) as daemon, daemon.client(prefetch=1) as client:
        next(iter(client))

        def leases() -> int:
            (group,) = daemon.stream_stats()["groups"]
            return int(group["members"][0]["leases"])

        until(lambda: leases() == 2, what="one is held, one is under way")
        assert client._subscription._lease is not None
        epoch = iter(client)
        assert client._subscription._lease is None
        assert numbers(epoch) == list(range(LENGTH))


def test_ranks_that_break_off_begin_the_next_epoch(daemon: Serving) -> None:
    """All of them after the same step, or some at the end."""
    with Ranks(daemon, 3) as ranks:
        ranks.each(lambda client: next(iter(client)))
        assert ranks.epoch() == [share(rank, 3) for rank in range(3)]
        assert ranks.each(lambda client: client.epoch) == [2] * 3


@pytest.mark.parametrize("size", [1, 3])
def test_ranks_that_take_exactly_their_length_see_whole_epochs(daemon: Serving, size: int) -> None:
    """Keras never asks for the end."""
    with Ranks(daemon, size) as ranks:
        for epoch in range(3):
            taken = ranks.each(lambda client: numbers(itertools.islice(iter(client), len(client))))
            assert taken == [share(rank, size) for rank in range(size)]
            assert ranks.each(lambda client: client.epoch) == [epoch] * size


# -- "In a split group it goes on with what is left of the group's epoch." ------------------------------------------


def test_members_that_break_off_leave_the_rest_to_all(daemon: Serving) -> None:
    """Nothing is lost by it, and nothing comes twice."""
    group = next(_groups)
    with daemon.client(group=group, prefetch=1) as one, daemon.client(group=group, prefetch=1) as other:
        taken = [*numbers(itertools.islice(iter(one), 3)), *numbers(itertools.islice(iter(other), 3))]
        with ThreadPoolExecutor(2) as pool:
            rest = pool.map(numbers, (one, other))
        taken += [number for mine in rest for number in mine]
        assert sorted(taken) == list(range(LENGTH))
        assert (one.epoch, other.epoch) == (1, 1)


# -- "`len(client)`: batches of a whole epoch for this client, `TypeError` where there is no such number (split,
#    endless)." ---------------------------------------------------------------------------------------------------


def test_a_length_is_this_clients(daemon: Serving) -> None:
    """Of a whole epoch, also in the midst of one."""
    with daemon.client() as client:
        assert len(client) == LENGTH
        next(iter(client))
        assert len(client) == LENGTH
    with Ranks(daemon, 4) as ranks, Ranks(daemon, 4, tail="pad") as padded:
        assert ranks.each(len) == [LENGTH // 4] * 4
        assert padded.each(len) == [LENGTH // 4 + 1] * 4
    with daemon.client(group=next(_groups)) as client, pytest.raises(TypeError, match="share the epoch"):
        len(client)


# -- "`client.epochs(n)` yields epochs up to a total of n, counted from the state." (from a state: test_resume) -----


def test_epochs_are_counted_anew_by_each_call(daemon: Serving) -> None:
    """Running a cell twice trains twice."""
    with Ranks(daemon, 2) as ranks:
        for _ in range(2):
            taken = ranks.each(lambda client: [numbers(epoch) for epoch in client.epochs(2)])
            assert taken == [[share(rank, 2)] * 2 for rank in range(2)]
        assert ranks.each(lambda client: client.epoch) == [4, 4]


def test_epochs_of_a_split_group_end_together(daemon: Serving) -> None:
    """Each position of each epoch once between them."""
    group = next(_groups)
    clients = [daemon.client(group=group) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        taken = list(pool.map(lambda client: [numbers(epoch) for epoch in client.epochs(3)], clients))
    for client in clients:
        client.close()
    assert [len(mine) for mine in taken] == [3, 3]
    for epoch in range(3):
        assert sorted(taken[0][epoch] + taken[1][epoch]) == list(range(LENGTH))


def test_steps_of_ranks_cross_the_ends_of_epochs(daemon: Serving) -> None:
    """And go on where they stopped."""
    with Ranks(daemon, 3) as ranks:
        assert ranks.steps(6) == [share(rank, 3) + share(rank, 3)[:2] for rank in range(3)]
        assert ranks.steps(3) == [share(rank, 3)[2:] + share(rank, 3)[:1] for rank in range(3)]
        assert ranks.each(lambda client: client.step) == [9] * 3


# -- "`fixed_epoch=0` makes every iteration replay one epoch: validation." ------------------------------------------


def test_steps_of_a_fixed_epoch_replay_it(daemon: Serving) -> None:
    """They never leave it."""
    with daemon.client(fixed_epoch=2) as client:
        batches = [next(taken) for taken in [client.batches()] for _ in range(LENGTH + 3)]
        assert [batch.position for batch in batches] == [(2, index % LENGTH) for index in range(LENGTH + 3)]
        assert numbers(client) == list(range(LENGTH))
        assert [numbers(epoch) for epoch in client.epochs(2)] == [list(range(LENGTH))] * 2


def test_ranks_replay_a_fixed_epoch(daemon: Serving) -> None:
    """Each its own share, also after a break and when they take exactly their length."""
    with Ranks(daemon, 2, fixed_epoch=1) as ranks:
        for _ in range(2):
            assert ranks.epoch() == [share(rank, 2) for rank in range(2)]
            ranks.each(lambda client: next(iter(client)))
            taken = ranks.each(lambda client: numbers(itertools.islice(iter(client), len(client))))
            assert taken == [share(rank, 2) for rank in range(2)]
            assert ranks.each(lambda client: client.epoch) == [1, 1]


def test_a_fixed_epoch_is_not_for_split_groups() -> None:
    """They share epochs as they come."""
    with pytest.raises(ConfigError, match="fixed_epoch"):
        Client("ipc:///nowhere.sock", group="g", fixed_epoch=0)


# -- "`start` says where a group without live members begins" -------------------------------------------------------


def test_a_live_start_gives_a_short_first_epoch() -> None:
    """What is left of it from where others are, then whole ones."""
    with Serving(*COUNTING, "--max-queue-size", "2") as daemon, daemon.client(prefetch=1) as leader:
        taken = iter(leader)
        for _ in range(7):
            next(taken)
        with daemon.client(start="live") as late:
            first = numbers(late)
            assert first == list(range(first[0], LENGTH))
            assert 4 <= first[0] <= 9
            assert numbers(late) == list(range(LENGTH))


def test_a_group_that_is_remembered_goes_on() -> None:
    """`start="stored"`: where it was when its last member left."""
    with Serving(*COUNTING) as daemon:
        with daemon.client(group="g") as client:
            assert numbers(client.steps(5)) == [0, 1, 2, 3, 4]
        with daemon.client(group="g", start="stored") as client:
            assert sorted(numbers(client)) == list(range(5, LENGTH))  # what was given back comes when it is made again
        with daemon.client(group="g") as client:
            assert numbers(client.steps(2)) == [0, 1]
        with Ranks(daemon, 2, group="r") as ranks:
            assert ranks.steps(2) == [[0, 2], [1, 3]]
        with Ranks(daemon, 2, group="r", start="stored") as ranks:
            assert ranks.steps(2) == [[4, 6], [5, 7]]


# -- "a dead rank's positions wait for it, and the others raise `RankLost` after their `batch_timeout`" -------------


def test_a_rank_that_leaves_is_named_and_comes_back(daemon: Serving) -> None:
    """Whoever takes its number goes on where it was."""
    group = next(_groups)
    with daemon.client(group=group, rank=0, world_size=3, batch_timeout=0.5) as stays:
        taken = iter(stays)
        with pytest.raises(RankLost, match=f"ranks 1, 2 of group '{group}' have not joined yet") as caught:
            next(taken)
        assert caught.value.ranks == (1, 2)
        assert isinstance(caught.value, TimeoutError)
        leaves = [daemon.client(group=group, rank=rank, world_size=3) for rank in (1, 2)]
        assert numbers([next(taken)]) == [0]
        assert [numbers(one.steps(1)) for one in leaves] == [[1], [2]]
        leaves[1].close()
        with pytest.raises(RankLost, match=f"rank 2 of group '{group}' has left") as caught:
            numbers(taken)
        assert caught.value.ranks == (2,)
        with daemon.client(group=group, rank=2, world_size=3) as back:
            assert numbers(back) == share(2, 3)[1:]
            leaves[0].close()


def test_a_rank_that_is_killed_is_replaced(daemon: Serving) -> None:
    """The new process goes on with what the old one had not acknowledged, which is marked."""
    group = next(_groups)
    arguments = f"{daemon.endpoint!r}, group={group!r}, rank=1, world_size=2"
    with daemon.client(group=group, rank=0, world_size=2, prefetch=1, batch_timeout=1.0) as stays:
        taken = stays.batches()
        with Trainer() as trainer:
            trainer(f"taken = Client({arguments}).batches()")
            assert trainer("[next(taken).index for _ in range(2)]") == [1, 3]
            assert [next(taken).index for _ in range(2)] == [0, 2]
            trainer.kill()
        with pytest.raises(RankLost, match="rank 1 of group"):
            list(taken)
        with Trainer() as trainer:
            trainer(f"taken = Client({arguments}).batches()")
            # its last word, that 1 is done, may have died with it
            first = trainer("[(b.index, b.redelivered) for b in (next(taken), next(taken))][0]")
            assert first in ([3, True], [1, True])
            assert next(taken).index in (4, 6, 8)


# -- "members that are done wait for that, say so after 10 s (naming who holds what), and raise after
#    `batch_timeout`" --------------------------------------------------------------------------------------------------


def test_members_that_wait_for_each_other_say_so(
    daemon: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And for whom, and give up in time; the epoch goes on when the other does."""
    monkeypatch.setattr("enqueued.client.patience._TELL_SPLIT_S", 0.1)
    monkeypatch.setattr("enqueued.client.patience._SLICE_S", 0.05)
    group = next(_groups)
    with daemon.client(group=group, prefetch=1, batch_timeout=0.5) as one, daemon.client(group=group) as other:
        held = other.batches()
        next(held)
        taken = iter(one)
        with pytest.raises(BatchTimeout, match="to acknowledge"):
            numbers(taken)
        assert any("waiting 0 s" in record.message and "acknowledge" in record.message for record in caplog.records)
        thread = threading.Thread(target=lambda: list(other))
        thread.start()
        list(taken)
        thread.join(10)
        assert (one.epoch, other.epoch) == (1, 1)
