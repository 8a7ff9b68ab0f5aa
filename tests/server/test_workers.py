"""Workers die, hang and raise; what clients get stays whole and in order."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from enqueued.errors import SourceError
from gate import Gate
from serving import Serving, run
from taking import taken
from waiting import until

COUNTING = ("--sequence", "sources.counting:Counting")
DYING = ("--sequence", "sources.faulty:Dying")


def workers(daemon: Serving) -> list[int]:
    """The pids of the workers that are up."""
    return [worker["pid"] for worker in daemon.stream_stats()["workers"] if worker["pid"]]


def signal_to(pid: int, number: int) -> bool:
    """Send a signal; whether somebody was there to get it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def zombies(daemon: Serving) -> list[int]:
    """Processes of the daemon's pool that nobody has waited for."""
    found = []
    groups = {os.getpgid(pid) for pid in daemon.processes() if pid != daemon.process.pid}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
                if state == "Z" and int(group) in groups:
                    found.append(int(folder.name))
    return found


@pytest.mark.timeout(180)
def test_workers_killed_at_random_lose_nothing() -> None:
    """Thousands of batches, each once and in order; slots come back, and nobody stays unburied."""
    chance = random.Random(4)
    with Serving(*COUNTING, "--arg", "length=2000", "--workers", "3") as daemon, daemon.client() as client:
        pending, killed = 0, 0
        slots: list[int] = []
        for _ in range(3):
            numbers = []
            for number in taken(client):
                numbers.append(number)
                pending += 1
                if pending > 60 + chance.randrange(40):
                    pending = 0
                    up = workers(daemon)
                    if up:
                        killed += signal_to(chance.choice(up), signal.SIGKILL)
                        slots.append(daemon.stream_stats()["slot_bytes"])
            assert numbers == list(range(2000))
        assert killed >= 50
        until(lambda: len(workers(daemon)) == 3, 20, "all are replaced")
        stats = daemon.stream_stats()
        assert killed >= stats["worker_restarts"] >= killed * 0.8
        assert 6000 <= stats["delivered"] <= 6003  # the next epoch's first are under way
        assert max(slots[len(slots) // 2 :]) <= 2 * max(slots[: len(slots) // 2])
        until(lambda: not zombies(daemon), 5, "no zombie")
        assert set(re.findall(r"was killed by (\w+)", daemon.log)) == {"SIGKILL"}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("segv", "was killed by SIGSEGV"),
        ("abort", "was killed by SIGABRT"),
        ("kill", "was killed by SIGKILL"),
        ("_exit", "exited with code 7"),
    ],
)
def test_a_worker_that_dies_once_is_replaced(how: str, words: str, tmp_path: Path) -> None:
    """The position is made again by a successor; the log says how the first one ended, and where."""
    flags = (*DYING, "--arg", f"how={how}", "--arg", "at=[3,4,11]", "--arg", f"folder={tmp_path}")
    with Serving(*flags, "--workers", "2") as daemon, daemon.client() as client:
        for _ in range(2):
            assert list(taken(client)) == list(range(20))
        assert daemon.stream_stats()["worker_restarts"] == 3
        for position in ("0:3", "0:4", "0:11"):
            assert re.search(rf"worker \d \(pid \d+\) {words} while it made {position}; it is replaced", daemon.log)
        if how in ("segv", "abort"):
            assert "faulty.py" in daemon.log  # the stack
        assert not zombies(daemon)


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_position_that_kills_three_workers_is_given_up(workers: str) -> None:
    """It becomes an error in its place, and what follows it comes."""
    with Serving(*DYING, "--arg", "at=[7]", "--workers", workers) as daemon, daemon.client() as client:
        found = list(taken(client))
        assert [number for number in found if isinstance(number, int)] == [n for n in range(20) if n != 7]
        error = found[7]
        assert isinstance(error, SourceError)
        assert (error.epoch, error.index) == (0, 7)
        assert "SIGSEGV while it made 0:7" in str(error)
        assert "enqueued check --sequence sources.faulty:Dying --arg 'at=[7]' --position 0:7 --pdb" in str(error)
        assert until(lambda: daemon.stream_stats()["worker_restarts"] >= 3, 5)
        second = list(taken(client))
        assert isinstance(second[7], SourceError)
        assert len(second) == 20


def test_workers_that_do_nothing_but_die_end_the_daemon() -> None:
    """Where every position kills, exit code 5 says that there is a crash loop."""
    flags = (*DYING, "--arg", f"at={list(range(20))}".replace(" ", ""), "--workers", "2")
    with Serving(*flags, expect=5) as daemon:
        assert daemon.wait() == 5
        last = daemon.log.splitlines()[-1]
        assert "processes ended without making a batch" in last
        assert "SIGSEGV" in last


def test_sys_exit_in_a_source_is_an_error_like_others() -> None:
    """It ends neither the worker nor the daemon."""
    with Serving(*DYING, "--arg", "how=sys.exit", "--arg", "at=[5]") as daemon, daemon.client() as client:
        found = list(taken(client))
        assert isinstance(found[5], SourceError)
        assert "SystemExit: 3" in str(found[5])
        assert [n for n in found if isinstance(n, int)] == [n for n in range(20) if n != 5]
        assert daemon.stream_stats()["worker_restarts"] == 0


@pytest.mark.parametrize("pool", ["process", "thread"])
def test_an_exception_reaches_the_client_in_its_place(pool: str) -> None:
    """After the batches before it, with all that is needed to find it; the client may go on after it."""
    flags = ("--sequence", "sources.faulty:Raising", "--arg", "at=[3,9]", "--pool", pool)
    with Serving(*flags, "--workers", "2") as daemon, daemon.client() as client:
        found = list(taken(client))
        assert [n for n in found if isinstance(n, int)] == [n for n in range(20) if n not in (3, 9)]
        for index in (3, 9):
            error = found[index]
            assert isinstance(error, SourceError)
            assert (error.epoch, error.index) == (0, index)
            assert re.match(r"worker \d \(pid \d+\)", error.worker)
            assert re.search(r"ValueError: bad pixel \(.*/sources/faulty\.py:\d+\)", str(error))
            assert "raise ValueError(self.text)" in error.traceback
            assert "enqueued/pool" not in error.traceback
            assert f"--position 0:{index} --pdb" in str(error)
        assert daemon.stream_stats()["failed"] >= 2
        assert daemon.stream_stats()["worker_restarts"] == 0


def test_the_command_in_an_error_reproduces_it() -> None:
    """What the error says to type gives the same exception."""
    with Serving("--sequence", "sources.faulty:Raising", "--arg", "at=[1]") as daemon, daemon.client() as client:
        error = list(taken(client))[1]
    command = re.search(r"Reproduce it with: enqueued (.*) --pdb", str(error))
    assert command is not None
    again = run(*command[1].replace("'", "").split())
    assert again.returncode != 0
    assert "ValueError: bad pixel" in again.stderr + again.stdout


def test_an_error_that_is_hard_to_carry_arrives() -> None:
    """A text of odd bytes and one as long as a book reach the client, shortened."""
    with Serving("--sequence", "sources.faulty:Unspeakable") as daemon, daemon.client() as client:
        found = list(taken(client))
        assert [n for n in found if isinstance(n, int)] == [n for n in range(20) if n not in (3, 5)]
        assert "ValueError" in str(found[3])
        assert "left out" in str(found[5])
        assert daemon.stream_stats()["worker_restarts"] == 0


def test_a_hanging_position_is_ended(tmp_path: Path) -> None:
    """After `--make-timeout` its stack is logged and it is made elsewhere; meanwhile others work."""
    flags = (*DYING, "--arg", "how=hang", "--arg", "at=[5]", "--arg", f"folder={tmp_path}", "--make-timeout", "1")
    with Serving(*flags, "--workers", "2") as daemon, daemon.client() as client:
        assert list(taken(client)) == list(range(20))
        assert re.search(r"makes 0:5 for 1\.\d s; it is ended", daemon.log)
        assert "SIGABRT while it made 0:5" in daemon.log
        assert "in __getitem__" in daemon.log
        assert daemon.stream_stats()["worker_restarts"] == 1


def test_a_stopped_worker_is_ended(tmp_path: Path) -> None:
    """A worker that cannot even write its stack is killed all the same."""
    flags = (*DYING, "--arg", "how=stop", "--arg", "at=[5]", "--arg", f"folder={tmp_path}", "--make-timeout", "1")
    with Serving(*flags, "--workers", "2") as daemon, daemon.client() as client:
        assert list(taken(client)) == list(range(20))
        assert daemon.stream_stats()["worker_restarts"] == 1


def test_a_position_that_hangs_three_times_is_given_up() -> None:
    """It becomes an error, with threads too, and only that position does."""
    for pool in ("process", "thread"):
        flags = (*DYING, "--arg", "how=hang", "--arg", "at=[5]", "--make-timeout", "0.3", "--pool", pool)
        with Serving(*flags, "--workers", "2", "--graceful-timeout", "1") as daemon, daemon.client() as client:
            found = list(taken(client))
            assert isinstance(found[5], SourceError)
            assert [n for n in found if isinstance(n, int)] == [n for n in range(20) if n != 5]


def test_a_killed_daemon_leaves_no_process(tmp_path: Path) -> None:
    """Zygote, busy and stopped workers and the user's own children end with the daemon."""
    with Serving("--sequence", "sources.faulty:Parent", "--workers", "3") as daemon, daemon.client() as client:
        children = {int(batch[1]) for batch in client}
        assert children
        signal_to(workers(daemon)[0], signal.SIGSTOP)
        assert children <= set(daemon.processes())
        daemon.kill()
        until(lambda: not daemon.processes(), 3, "no process is left")  # a busy machine needs more than one
        daemon.start()
        assert [int(batch[0]) for batch in client] == [0, 1, 2, 3]


def test_children_of_user_code_end_with_the_daemon() -> None:
    """After a stop in order nothing is left of what a worker started."""
    with Serving("--sequence", "sources.faulty:Parent", "--workers", "2") as daemon, daemon.client() as client:
        children = {int(batch[1]) for batch in client}
        client.close()
        assert daemon.stop() == 0
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 2, "the children are gone")


def test_a_streamed_source_whose_worker_dies_says_so() -> None:
    """Its state is gone: the client is told after what was told before, and the stream is over.

    What was made a moment before, and not told yet, is lost with it.
    """
    flags = ("--generator", "sources.faulty:stream_that_dies")
    with Serving(*flags) as daemon, daemon.client() as client:
        *found, last = list(taken(client))
        assert found == [0, 1, 2, 3, 4][: len(found)]
        assert isinstance(last, SourceError)
        assert "SIGKILL" in str(last)
        assert "restart the daemon" in str(last)
        assert list(taken(client)) == []


def test_a_generator_that_raises_ends_its_epoch() -> None:
    """The error is in its place, and the next epoch begins anew."""
    with Serving("--generator", "sources.faulty:stream_that_raises") as daemon, daemon.client() as client:
        for _ in range(3):
            found = list(taken(client))
            assert found[:5] == [0, 1, 2, 3, 4]
            assert isinstance(found[5], SourceError)
            assert "bad row" in str(found[5])
            assert len(found) == 6


def test_a_generator_that_never_gives_a_batch_does_not_go_on_for_ever() -> None:
    """An epoch without a batch is one error, not an endless row of them."""
    for target in ("sources.good:nothing", "sources.bad:failing_factory"):
        with Serving("--generator", target) as daemon, daemon.client() as client:
            found = list(itertools.islice(taken(client), 10))
            assert len(found) == 1
            assert isinstance(found[0], SourceError)


def test_a_replica_that_is_killed_before_it_is_up_is_replaced(tmp_path: Path) -> None:
    """Nothing of its state is lost, because it had none."""
    flags = ("--generator", "sources.pooled:noisy", "--worker-init", "sources.faulty:dying_once_init")
    with Serving(*flags, environ={"DYING_FOLDER": str(tmp_path)}) as daemon, daemon.client() as client:
        assert [int(batch["n"]) for batch in client] == [0, 1, 2, 3, 4]
        assert daemon.stream_stats()["worker_restarts"] == 1


def test_a_worker_dies_while_the_only_client_is_away() -> None:
    """The queue that waits for a client is made whole again."""
    with Serving(*COUNTING, "--workers", "2") as daemon:
        daemon.ready()
        until(lambda: daemon.stream_stats()["ready"] == 10 and len(workers(daemon)) == 2, 20, "a full queue")
        for pid in workers(daemon):
            signal_to(pid, signal.SIGKILL)
        until(lambda: daemon.stream_stats()["worker_restarts"] == 2, 10, "both are replaced")
        with daemon.client() as client:
            assert list(taken(client)) == list(range(20))


def test_batches_in_a_clients_hands_outlive_their_worker() -> None:
    """What a dead worker wrote stays as it was, while its successor writes elsewhere."""
    flags = (*COUNTING, "--arg", "length=60", "--arg", "shape=[40000]", "--workers", "2")
    with Serving(*flags) as daemon, daemon.client() as client:
        held = []
        for number, batch in enumerate(client):
            held.append(batch)
            if number % 20 == 10:
                for pid in workers(daemon):
                    signal_to(pid, signal.SIGKILL)
        assert len(held) == 60
        for number, batch in enumerate(held):
            assert (batch[0] == number).all()


def test_two_clients_and_dying_workers_see_the_same() -> None:
    """Two clients of their own read at once, while workers are killed."""
    with Serving(*COUNTING, "--arg", "length=2000", "--workers", "2") as daemon:
        daemon.ready()
        results: dict[int, list[Any]] = {}

        def read(name: int) -> None:
            with daemon.client() as client:
                results[name] = list(taken(client))

        threads = [threading.Thread(target=read, args=(name,)) for name in range(2)]
        for thread in threads:
            thread.start()
        made = 0
        while any(thread.is_alive() for thread in threads):
            stats = daemon.stream_stats()
            if stats["made"] > made + 20:
                made = stats["made"]
                signal_to(stats["workers"][0]["pid"] or stats["workers"][-1]["pid"], signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert daemon.stream_stats()["worker_restarts"] > 5
        assert results == {0: list(range(2000)), 1: list(range(2000))}


def test_what_is_made_does_not_wait_for_what_is_not(tmp_path: Path) -> None:
    """Batches that took no time are there while the one worker still makes the next, however long that takes."""
    flags = ("--sequence", "sources.sized:Gated", "--arg", "free=200", "--arg", "length=300", "--max-queue-size", "300")
    with (
        Gate(tmp_path / "gate") as gate,
        Serving(*flags, "--arg", f"gate={gate.path}", "--workers", "1") as daemon,
        daemon.client(prefetch=50) as client,
    ):
        epoch = iter(client)
        for _ in range(200):
            next(epoch)
        gate.open()
        assert len(list(epoch)) == 100
