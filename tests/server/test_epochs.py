"""Epochs: what they are made of is the same for any number of workers, and what happens between them happens once."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enqueued.errors import SourceError
from serving import Serving
from waiting import until

SHUFFLING = ("--sequence", "sources.pooled:SelfShuffling")


def digest(batch: dict[str, Any]) -> tuple[Any, ...]:
    """A batch as something that can be compared bit by bit, without who made it."""
    return tuple((key, np.asarray(value).tobytes()) for key, value in batch.items() if key != "pid")


def epochs_of(daemon: Serving, number: int) -> list[list[Any]]:
    """Some epochs of a daemon's stream, bit by bit."""
    with daemon.client() as client:
        return [[digest(batch) for batch in epoch] for epoch in client.epochs(number)]


def test_any_number_of_workers_gives_the_same_epochs_bit_by_bit() -> None:
    """Augmentation by random and numpy.random follows from the position alone."""
    found = []
    for workers in ("1", "2", "5"):
        flags = ("--sequence", "sources.pooled:Augmented", "--seed", "7", "--workers", workers)
        with Serving(*flags) as daemon:
            found.append(epochs_of(daemon, 2))
    assert found[0] == found[1] == found[2]
    assert found[0][0] != found[0][1]
    with Serving("--sequence", "sources.pooled:Augmented", "--seed", "8") as daemon:
        assert epochs_of(daemon, 1)[0] != found[0][0]


def kill(pid: int) -> None:
    """Kill a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_a_killed_worker_changes_no_bit() -> None:
    """What a successor makes again is what would have been."""
    flags = ("--sequence", "sources.pooled:Augmented", "--arg", "pid=true", "--workers", "2")
    with Serving(*flags) as daemon:
        undisturbed = epochs_of(daemon, 2)
    with Serving(*flags) as daemon, daemon.client() as client:
        found = []
        for epoch in client.epochs(2):
            batches = []
            for number, batch in enumerate(epoch):
                batches.append(digest(batch))
                if number % 10 == 5:
                    victim = until(lambda: [one["pid"] for one in daemon.stream_stats()["workers"] if one["pid"]], 10)
                    kill(victim[0])
            found.append(batches)
        assert found == undisturbed
        assert daemon.stream_stats()["worker_restarts"] >= 2


def test_threads_keep_the_order_and_their_own_random_numbers() -> None:
    """A pool of threads promises the order and what `enqueued.rng()` draws."""
    found = []
    for flags in (("--workers", "1"), ("--workers", "4", "--pool", "thread"), ("--workers", "2")):
        with Serving("--sequence", "sources.pooled:OwnNumbers", *flags) as daemon:
            found.append(epochs_of(daemon, 2))
    assert found[0] == found[1] == found[2]
    with Serving("--sequence", "sources.counting:Counting", "--pool", "thread", "--workers", "4") as daemon:
        with daemon.client() as client:
            for epoch in client.epochs(3):
                assert [int(batch[1]) for batch in epoch] == list(range(20))
        assert len(daemon.stream_stats()["workers"]) == 1


@pytest.mark.parametrize("draws", ["false", "true"])
def test_a_sequence_that_shuffles_itself_gives_each_sample_once_per_epoch(draws: str, tmp_path: Path) -> None:
    """Four workers see one shuffle, though its generator is unseeded and `__getitem__` may draw from it too.

    Two clients that join at different times see the same epochs, and `on_epoch_end` ran once for each, in one place.
    """
    notes = tmp_path / "notes"
    flags = (*SHUFFLING, "--arg", f"path={notes}", "--arg", f"draws={draws}", "--workers", "4")
    with Serving(*flags, "--max-generations", "8") as daemon:
        with daemon.client() as first, daemon.client() as second:
            ours: list[list[int]] = []
            theirs: list[list[int]] = []
            for number in range(5):
                ours.append(take_epoch(first, number))
                if number >= 2:
                    theirs.append(take_epoch(second, number - 2))
            theirs += [take_epoch(second, number) for number in (3, 4)]
        assert all(sorted(epoch) == list(range(30)) for epoch in ours)
        assert ours == theirs
        assert len({tuple(epoch) for epoch in ours}) == 5
        calls = Counter(int(line.split()[0]) for line in notes.read_text().splitlines())
        assert set(calls.values()) == {1}
        assert set(calls) >= {1, 2, 3, 4}
        pids = {line.split()[1] for line in notes.read_text().splitlines()}
        assert not pids & {str(worker["pid"]) for worker in daemon.stream_stats()["workers"]}


def take_epoch(client: Any, number: int) -> list[int]:
    """The samples of a client's next epoch, each of which says which epoch it is."""
    batches = list(client)
    assert {int(batch[1]) for batch in batches} == {number}
    return [int(batch[0]) for batch in batches]


def test_a_late_client_starts_at_the_first_epoch_with_few_generations() -> None:
    """The first generation is kept, so a client that comes in the sixth epoch sees the first five as they were."""
    with Serving(*SHUFFLING, "--workers", "2", "--max-generations", "2") as daemon:
        with daemon.client() as first:
            ours = [take_epoch(first, number) for number in range(6)]
            iterator = iter(first)
            next(iterator)
            with daemon.client() as second:
                theirs = [take_epoch(second, number) for number in range(6)]
            rest = list(iterator)
        assert len(rest) == 29
        assert ours == theirs
        until(lambda: zygotes(daemon) <= 3, 10, "surplus zygotes end")


def zygotes(daemon: Serving) -> int:
    """How many zygotes a daemon has."""
    names = []
    for pid in daemon.processes():
        try:
            names.append(Path(f"/proc/{pid}/comm").read_text())
        except OSError:
            continue
    return sum(name.startswith("enq-zygote") for name in names)


def test_generations_do_not_pile_up() -> None:
    """After many epochs there are no more zygotes than asked for, and no more workers than those need."""
    with Serving(*SHUFFLING, "--arg", "length=4", "--workers", "2", "--max-generations", "3") as daemon:
        with daemon.client() as client:
            for number in range(30):
                take_epoch(client, number)
            until(lambda: zygotes(daemon) <= 3, 10, "surplus zygotes end")
            until(lambda: len(daemon.stream_stats()["workers"]) <= 6, 10, "surplus workers end")
        assert daemon.stream_stats()["worker_restarts"] == 0


def test_the_length_may_change_with_each_epoch() -> None:
    """`__len__` is read for each epoch, after its `on_epoch_end`."""
    flags = (*SHUFFLING, "--arg", "length=5", "--arg", "grows=true", "--workers", "3")
    with Serving(*flags) as daemon, daemon.client() as client:
        for number, length in enumerate((5, 8, 11, 14)):
            assert sorted(take_epoch(client, number)) == list(range(length))


def test_an_on_epoch_end_that_raises_reaches_the_client() -> None:
    """The client is told what was raised and where, and gets on when the next try goes well."""
    with Serving("--sequence", "sources.faulty:DyingBetween", "--arg", "how=raise") as daemon:
        with daemon.client() as client:
            assert len(list(client)) == 5
            with pytest.raises(SourceError, match=r"on_epoch_end raised ValueError: raise .*faulty.py:\d+"):
                list(client)
        assert daemon.process.poll() is None


def test_an_on_epoch_end_that_raises_once_is_tried_again(tmp_path: Path) -> None:
    """A failure that passes costs an error, not the epochs after it."""
    flags = ("--sequence", "sources.faulty:DyingBetween", "--arg", "how=raise", "--arg", f"folder={tmp_path}")
    with Serving(*flags) as daemon, daemon.client() as client:
        assert len(list(client)) == 5
        epoch = iter(client)
        with pytest.raises(SourceError, match="on_epoch_end"):
            next(epoch)
        assert [int(batch[0]) for batch in epoch] == [101, 102, 103, 104]
        assert [int(batch[0]) for batch in client] == [200, 201, 202, 203, 204]


@pytest.mark.parametrize(("how", "word"), [("_exit", "exited with code 7"), ("segv", "SIGSEGV")])
def test_an_on_epoch_end_that_kills_its_process_reaches_the_client(how: str, word: str, tmp_path: Path) -> None:
    """It is tried again: dying once costs nothing; of one that dies each time clients are told, and the daemon ends."""
    flags = ("--sequence", "sources.faulty:DyingBetween", "--arg", f"how={how}", "--workers", "2")
    with Serving(*flags, "--arg", f"folder={tmp_path}") as daemon, daemon.client() as client:
        assert [int(batch[0]) for epoch in client.epochs(2) for batch in epoch] == [*range(5), *range(100, 105)]
        assert word in daemon.log
    with Serving(*flags, expect=5) as daemon, daemon.client() as client:
        assert len(list(client)) == 5
        with pytest.raises(SourceError, match=f"on_epoch_end.*{word}"):
            next(iter(client))
        assert daemon.wait() == 5


def test_an_on_epoch_end_that_hangs_is_ended() -> None:
    """What may take as long as loading takes no longer."""
    flags = ("--sequence", "sources.faulty:DyingBetween", "--arg", "how=hang", "--load-timeout", "2")
    with Serving(*flags, "--workers", "2") as daemon, daemon.client() as client:
        assert len(list(client)) == 5
        with pytest.raises(SourceError, match=r"on_epoch_end.*SIGKILL"):
            next(iter(client))
        assert "was not opened within 2 s" in daemon.log


def test_an_epochs_zygote_that_is_killed_is_made_again() -> None:
    """The zygote of the epoch that is being served dies with its workers: the epoch goes on as it was."""
    with Serving(*SHUFFLING, "--arg", "length=400", "--workers", "2") as daemon, daemon.client() as client:
        take_epoch(client, 0)
        batches = []
        for number, batch in enumerate(client):
            batches.append(batch)
            if number == 50:
                victims = [pid for pid in daemon.processes() if name_of(pid) == "enq-zygote-1"]
                assert len(victims) == 1
                os.kill(victims[0], signal.SIGKILL)
        assert sorted(int(batch[0]) for batch in batches) == list(range(400))
        assert {int(batch[1]) for batch in batches} == {1}


def name_of(pid: int) -> str:
    """The name of a process."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_a_killed_first_zygote_loads_the_source_again() -> None:
    """The source is constructed anew, and no batch is lost or given twice."""
    flags = ("--sequence", "sources.counting:Counting", "--arg", "length=2000", "--workers", "2")
    with Serving(*flags) as daemon, daemon.client() as client:
        taken = []
        for number, batch in enumerate(client):
            taken.append(int(batch[1]))
            if number == 500:
                os.kill(next(pid for pid in daemon.processes() if name_of(pid) == "enq-zygote"), signal.SIGKILL)
        assert taken == list(range(2000))
        assert "the source is loaded again" in daemon.log


def test_a_zygote_that_dies_while_an_epoch_is_opened_does_not_stop_the_stream(tmp_path: Path) -> None:
    """The first zygote is killed while `on_epoch_end` runs in another: the epochs are opened anew."""
    flags = ("--sequence", "sources.faulty:DyingBetween", "--arg", "how=hang", "--arg", f"folder={tmp_path}")
    with Serving(*flags, "--workers", "1") as daemon, daemon.client() as client:
        first = list(itertools.islice(client, 4))
        assert len(first) == 4
        until(lambda: (tmp_path / "0").exists(), 10, "on_epoch_end runs")
        os.kill(next(pid for pid in daemon.processes() if name_of(pid) == "enq-zygote"), signal.SIGKILL)
        batches = [int(batch.data[0]) for batch in itertools.islice(client.batches(), 8)]
        assert batches == [4, 100, 101, 102, 103, 104, 200, 201]
