"""What an iteration is: whole epochs, breaks, exact lengths, groups."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from enqueued import Client
from enqueued.errors import ConfigError, SourceError
from serving import Serving
from waiting import until

COUNTING = ("--sequence", "sources.sized:Large", "--arg", "nbytes=100", "--arg", "length=12", "--workers", "2")


def second(batches: Any) -> list[int]:
    """The number that each batch tells."""
    return [int(number) for _, number in batches]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Serving]:
    """One daemon for all tests of private clients."""
    with Serving(*COUNTING) as serving:
        yield serving.ready()


def test_every_client_without_a_group_sees_everything(daemon: Serving) -> None:
    """Each from the first epoch's beginning."""
    with daemon.client() as one, daemon.client() as other:
        pairs = zip(one, other, strict=True)
        assert [second(pair) for pair in pairs] == [[i, i] for i in range(12)]


def test_breaking_off_begins_the_next_epoch(daemon: Serving) -> None:
    """As with a DataLoader, and what was left does not come again."""
    with daemon.client() as client:
        seen = []
        for batch in client:
            seen.append(int(batch[1]))
            if len(seen) == 5:
                break
        assert seen == [0, 1, 2, 3, 4]
        assert client.epoch == 0
        batches = client.batches()
        assert second(client) == list(range(12))
        assert client.epoch == 2
        assert next(batches).position == (2, 0)
        assert client.step == 5 + 12 + 1


def test_taking_exactly_the_length_and_beginning_anew_gives_whole_epochs(daemon: Serving) -> None:
    """Keras takes `len(client)` batches and never asks for the end."""
    with daemon.client() as client:
        for _ in range(3):
            epoch = iter(client)
            assert second(next(epoch) for _ in range(len(client))) == list(range(12))
        assert client.epoch == 2


def test_breaking_off_at_the_last_batch_skips_nothing(daemon: Serving) -> None:
    """The end of that epoch was never asked for either."""
    with daemon.client() as client:
        for batch in client:
            if batch[1] == 11:
                break
        iter(client)
        assert next(client.batches()).position == (1, 0)


def _some(batches: Iterator[Any], n: int) -> list[Any]:
    return [next(batches) for _ in range(n)]


def test_a_new_iteration_that_takes_nothing_skips_nothing(daemon: Serving) -> None:
    """Two calls of iter() in a row are one beginning."""
    with daemon.client() as client:
        iter(client)
        iter(client)
        assert second(client) == list(range(12))
        iter(client)
        assert next(client.batches()).position == (1, 0)


def test_epochs_are_as_many_as_were_asked_for(daemon: Serving) -> None:
    """Each whole, also after one that was broken off."""
    with daemon.client() as client:
        sizes = []
        for number, epoch in enumerate(client.epochs(3)):
            sizes.append(len(second(epoch)) if number != 1 else int(next(epoch)[1]))
        assert sizes == [12, 0, 12]
        assert client.epoch == 3
        assert list(client.epochs(0)) == []


def test_an_iterator_that_has_ended_stays_at_its_end(daemon: Serving) -> None:
    """It does not slip into the next epoch."""
    with daemon.client() as client:
        epoch = iter(client)
        assert second(epoch) == list(range(12))
        assert list(epoch) == []
        assert second(client) == list(range(12))


def test_steps_cross_the_ends_of_epochs(daemon: Serving) -> None:
    """And go on where they stopped."""
    with daemon.client() as client:
        assert second(client.steps(30)) == [i % 12 for i in range(30)]
        assert second(client.steps(2)) == [6, 7]
        assert second(client.steps(0)) == []
        assert client.step == 32


def test_batches_name_their_positions(daemon: Serving) -> None:
    """Across epochs, neither redelivered nor padded."""
    with daemon.client() as client:
        batches = _some(client.batches(), 26)
        assert [batch.position for batch in batches] == [divmod(i, 12) for i in range(26)]
        assert not any(batch.redelivered or batch.padded for batch in batches)
        assert repr(batches[25]) == "<Batch 2:1>"


def test_a_fixed_epoch_is_replayed(daemon: Serving) -> None:
    """Whole each time, also after a break."""
    with daemon.client(fixed_epoch=3) as client:
        for _ in range(2):
            assert [second(client), client.epoch] == [list(range(12)), 3]
            for batch in client:
                if batch[1] == 4:
                    break
            assert client.epoch == 3
        epoch = iter(client)
        assert second(next(epoch) for _ in range(12)) == list(range(12))
        assert second(client) == list(range(12))


def test_a_batch_that_is_done_early_makes_room(daemon: Serving) -> None:
    """`done` may be said again, and later than the next batch."""
    with daemon.client(prefetch=1) as client:
        batches = client.batches()
        first, other = next(batches), next(batches)
        first.done()
        other.done()
        other.done()
        assert next(batches).position == (0, 2)


def test_a_batch_that_is_done_counts_as_done_at_once() -> None:
    """Not only when the next one is asked for."""
    with Serving(*COUNTING) as daemon, daemon.client(group="g", prefetch=1) as client:
        batches = client.batches()
        for _ in range(11):
            next(batches)
        last = next(batches)

        def stands_at() -> tuple[int, int]:
            group = daemon.stream_stats()["groups"][0]
            return group["epoch"], group["index"]

        assert stands_at() == (0, 12)
        last.done()
        until(lambda: stands_at() >= (1, 0), what="the group's epoch has ended")


def test_an_argument_that_cannot_be_is_refused_at_once() -> None:
    """Before any daemon is looked for."""
    wrong: list[dict[str, Any]] = [
        {"start": "stored"},
        {"prefetch": 0},
        {"fixed_epoch": -1},
        {"fixed_epoch": 0, "group": "g"},
    ]
    for arguments in wrong:
        with pytest.raises(ConfigError):
            Client("ipc:///nowhere.sock", **arguments)
    with pytest.raises(ConfigError, match="no address"):
        Client("http://here")


def test_an_error_of_the_source_can_be_passed() -> None:
    """Each way of iterating goes on after it, and it names position, user's file and the command to see it again."""
    with (
        Serving("--sequence", "sources.sized:Failing", "--arg", "at=[0,3,9]", "--workers", "2") as daemon,
        daemon.client() as client,
    ):
        ways: list[Callable[[], Iterator[Any]]] = [client.batches, lambda: client.steps(8), lambda: iter(client)]
        for epoch, way in enumerate(ways):
            taken, seen = way(), []
            for index in range(10):
                if index not in (0, 3, 9):
                    seen.append(next(taken))
                    continue
                with pytest.raises(SourceError, match=r"sized\.py") as caught:
                    next(taken)
                assert (caught.value.epoch, caught.value.index) == (epoch, index)
                assert "ValueError: nonono" in caught.value.traceback
                assert f"--position {epoch}:{index} --pdb" in str(caught.value)
                assert caught.value.worker
            assert second(one.data if epoch == 0 else one for one in seen) == [1, 2, 4, 5, 6, 7, 8]


def test_many_long_errors_fit_through() -> None:
    """A hundred failing positions at once, each with a traceback of the largest size."""
    with (
        Serving("--sequence", "sources.sized:Failing", "--arg", f"at={list(range(100))}", "--arg", "text=200000",
                "--arg", "length=100", "--max-queue-size", "100") as daemon,
        daemon.client(prefetch=99) as client,
    ):  # fmt: skip
        taken = client.batches()
        for index in range(100):
            with pytest.raises(SourceError, match=f"position 0:{index}"):
                next(taken)


def test_an_epoch_that_has_grown_is_given_whole() -> None:
    """The length of each epoch is read anew: after exactly as many batches as before there may be more."""
    with Serving("--sequence", "sources.sized:Growing") as daemon, daemon.client() as client:
        assert len(client) == 3
        for size in (3, 4):
            assert second(client) == list(range(size))
        with daemon.client() as other:
            epoch = iter(other)
            assert second(next(epoch) for _ in range(3)) == [0, 1, 2]
            epoch = iter(other)
            assert second(next(epoch) for _ in range(3)) == [0, 1, 2]
            assert second(other) == [0, 1, 2, 3, 4]
            assert len(other) == 5


def test_a_stream_without_a_length_has_none() -> None:
    """A generator, also when an epoch of it has ended, because the next may be longer."""
    with Serving("--generator", "sources.sized:stream") as daemon, daemon.client() as client:
        with pytest.raises(TypeError, match="streamed"):
            len(client)
        assert second(client) == list(range(6))
        with pytest.raises(TypeError, match="streamed"):
            len(client)


def test_a_streamed_source_goes_on_after_a_break() -> None:
    """It only goes forward: what is left comes first, and no empty epoch follows one that was taken whole."""
    with Serving("--generator", "sources.sized:stream") as daemon, daemon.client() as client:
        for batch in client:
            if batch[1] == 2:
                break
        assert second(client) == [3, 4, 5]
        epoch = iter(client)
        assert second(next(epoch) for _ in range(6)) == list(range(6))
        assert second(client) == list(range(6))
        assert [second(epoch) for epoch in client.epochs(2)] == [list(range(6))] * 2


def test_a_spent_stream_ends_everything() -> None:
    """An iterator has one epoch; epochs, batches and steps end with it."""
    with Serving("--generator", "sources.sized:once") as daemon:
        with daemon.client() as client:
            assert [second(epoch) for epoch in client.epochs(3)] == [[0, 1, 2, 3]]
            assert list(client) == []
            assert list(client.batches()) == []
            assert list(client.steps(3)) == []
        with daemon.client(start="live") as late:
            assert list(late) == []


class Member(threading.Thread):
    """A member of a group in a thread of its own, which notes what it takes in each epoch."""

    def __init__(self, daemon: Serving, epochs: int, start: threading.Barrier) -> None:
        super().__init__()
        self.epochs: list[list[int]] = []
        self._arguments = (daemon, epochs, start)

    def run(self) -> None:
        daemon, epochs, start = self._arguments
        with daemon.client(group="team") as client:
            start.wait(20)
            for epoch in client.epochs(epochs):
                self.epochs.append(second(epoch))


def test_members_of_a_group_share_each_epoch() -> None:
    """Each position comes once, and all see the end of each epoch together."""
    with Serving(*COUNTING, "--arg", "length=60") as daemon:
        daemon.ready()
        start = threading.Barrier(3)
        members = [Member(daemon, 4, start) for _ in range(3)]
        for member in members:
            member.start()
        for member in members:
            member.join(40)
        assert [len(member.epochs) for member in members] == [4, 4, 4]
        for epoch in range(4):
            assert sorted(number for member in members for number in member.epochs[epoch]) == list(range(60))
        group = daemon.stream_stats()["groups"]
        assert group == []
        assert daemon.stats()["ignored"] == 0


def test_a_member_that_comes_late_gets_its_share() -> None:
    """It begins where the group is, and has no length."""
    with Serving(*COUNTING) as daemon, daemon.client(group="team", prefetch=1) as first:
        early = first.batches()
        taken = [int(next(early).data[1]) for _ in range(4)]
        with daemon.client(group="team", prefetch=1) as late:
            with pytest.raises(TypeError, match="group"):
                len(late)
            others = late.batches()
            taken.append(int(next(others).data[1]))
            while len(taken) < 11:
                taken.append(int(next(early).data[1]))
                taken.append(int(next(others).data[1]))
            assert len(set(taken)) == len(taken)
            assert max(taken) < len(taken) + 4  # what is missing is under way to one of them


def test_breaking_off_in_a_group_goes_on_with_the_rest() -> None:
    """The others' epoch is not moved by one member."""
    with Serving(*COUNTING) as daemon, daemon.client(group="team") as client:
        epoch = iter(client)
        assert second(next(epoch) for _ in range(5)) == [0, 1, 2, 3, 4]
        assert second(client) == [5, 6, 7, 8, 9, 10, 11]
        assert second(client) == list(range(12))


def test_two_groups_see_everything_each() -> None:
    """Groups do not share with each other."""
    with Serving(*COUNTING) as daemon, daemon.client(group="a") as a, daemon.client(group="b") as b:
        assert [second(pair) for pair in zip(a, b, strict=True)] == [[i, i] for i in range(12)]
