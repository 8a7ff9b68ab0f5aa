"""What goes wrong in worker processes arrives in the calling program, and nothing hangs or stays behind."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import sequences
import waiting
from enqueued.enqueuer import nursery, processes
from enqueued.enqueuer.runners import Ended, Setup, WorkerTraceback
from enqueued.errors import CrashLoop, LoadError, RemoteError
from enqueued.pool.sent import pack_exception, unpack_exception
from runs import Run, children, nothing_left, take

__all__ = ["nothing_left"]


@pytest.mark.parametrize(
    ("what", "kind", "text"),
    [
        (sequences.value_error, ValueError, "batch is bad"),
        (sequences.odd, sequences.Odd, "number 7"),
        (sequences.verbose, json.JSONDecodeError, "it is no document"),
        (sequences.interrupted, KeyboardInterrupt, "^$"),
        (sequences.leave, SystemExit, "3"),
        (sequences.local, RemoteError, "Local: it holds a lock"),
        (sequences.stubborn, sequences.Stubborn, "as ever"),
        (sequences.vanish, (RemoteError, CrashLoop), "exited with code 7"),
        (sequences.die, (RemoteError, CrashLoop), "killed by SIGKILL"),
    ],
)
def test_an_error_comes_at_its_place_with_its_type(what: Any, kind: Any, text: str) -> None:
    """After the batches before it; the worker's traceback is its cause; then it is over."""
    with Run(sequences.Failing(4, what)) as runner:
        assert [int(batch[0]) for batch in take(runner, 4)] == [0, 1, 2, 3]
        with pytest.raises(kind, match=text) as raised:
            runner.take()
        if what not in (sequences.vanish, sequences.die):
            assert isinstance(raised.value.__cause__, WorkerTraceback)
            assert what.__name__ in str(raised.value.__cause__)
        assert not runner.running
        with pytest.raises(Ended):
            runner.take()


def test_an_exception_brings_all_that_it_holds() -> None:
    """However much that is."""
    with Run(sequences.Failing(0, sequences.verbose)) as runner, pytest.raises(json.JSONDecodeError) as raised:
        runner.take()
    assert (len(raised.value.doc), raised.value.pos) == (1 << 20, 7)


def test_an_exception_of_two_arguments_keeps_its_attributes() -> None:
    """Though pickle would call it with one."""
    made = unpack_exception(pack_exception(sequences.Odd("number", 7)) or b"")
    assert isinstance(made, sequences.Odd)
    assert (made.args, made.number) == (("number 7",), 7)


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    """Its batches are made again, in their places."""
    with Run(sequences.DyingOnce(str(tmp_path / "mark"))) as runner:
        assert [int(batch[0]) for batch in take(runner, 20)] == list(range(10)) * 2


def test_a_pool_that_is_killed_is_made_again() -> None:
    """From the sequence as it is then, after `on_epoch_end`."""
    sequence = sequences.Growing()
    with Run(sequence) as runner:
        take(runner, 4)
        engine = runner._engine
        assert engine is not None
        root = engine.feed.pool._root
        waiting.until(lambda: len(engine.items) == 3)
        assert isinstance(root, nursery.PlantedRoot)
        waiting.until(lambda: root._wait(0.0) or root.pid)
        os.kill(root.pid, signal.SIGKILL)
        assert [batch[:3] for batch in take(runner, 8)] == [
            *((1, index, 1) for index in (1, 2, 3)),
            *((2, index, 2) for index in range(5)),
        ]


def test_the_nursery_may_be_killed() -> None:
    """The next run begins a new one; the one that runs goes on."""
    with Run(sequences.Counting()) as runner:
        runner.take()
        process = nursery.nursery().process
        process.kill()
        process.wait()
        take(runner, 20)
        with Run(sequences.Counting()) as other:
            take(other, 20)


def test_what_cannot_be_unpickled_is_told() -> None:
    """With the traceback of the pool."""
    with Run(sequences.Unwilling()) as runner, pytest.raises(LoadError, match="OSError: it stays here"):
        runner.take()


def test_what_can_neither_be_pickled_nor_forked_is_told() -> None:
    """The message names the attribute, why it cannot be forked, and what to do."""
    over = threading.Event()
    other = threading.Thread(target=over.wait, name="trainer's own")
    other.start()
    try:
        with Run(sequences.Holding()) as runner, pytest.raises(LoadError) as raised:
            runner.take()
    finally:
        over.set()
        other.join()
    for part in ("'guard' (lock)", "trainer's own", "worker_init", "__getstate__", "use_multiprocessing=False"):
        assert part in str(raised.value)


def test_stopping_wakes_whoever_waits() -> None:
    """Whatever it waits for: here a worker that never finishes."""
    with Run(sequences.Hanging(first=2)) as runner:
        take(runner, 2)
        ended = []

        def wait() -> None:
            try:
                runner.take()
            except Ended:
                ended.append(True)

        consumers = [threading.Thread(target=wait) for _ in range(2)]
        for one in consumers:
            one.start()
        waiting.until(lambda: runner._engine.waiting)  # type: ignore[union-attr] # it is running
        runner.stop(None)
        for one in consumers:
            one.join()
        assert ended == [True, True]


def test_two_runs_do_not_touch_each_other() -> None:
    """Also when one of them fails."""
    with Run(sequences.Counting()) as one, Run(sequences.Failing(2, sequences.value_error)) as other:
        take(one, 5)
        take(other, 2)
        with pytest.raises(ValueError, match="bad"):
            other.take()
        assert [int(batch[0]) for batch in take(one, 5)] == [5, 6, 7, 8, 9]


def test_a_second_run_is_forked_from_the_nursery() -> None:
    """No new interpreter is begun for it."""
    with Run(sequences.Counting()) as runner:
        runner.take()
    begun = children()
    assert len(begun) == 1
    with Run(sequences.Counting()) as runner:
        runner.take()
        assert children() == begun


def run_program(text: str, folder: Path, *, kill: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a program of its own with these lines."""
    file = folder / "program.py"
    file.write_text(text)
    return subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=50, check=False)


GUARDED = """
from enqueued.enqueuer.ordered import OrderedEnqueuer
import numpy as np

class Mine:
    def __len__(self): return 4
    def __getitem__(self, index):
        if index == 3: raise Own("mine")
        return np.full(3, index)

class Own(Exception): pass

print("imported as", __name__)
if __name__ == "__main__":
    enqueuer = OrderedEnqueuer(Mine(), use_multiprocessing=True)
    enqueuer.start(2)
    try:
        for batch in enqueuer.get(): print(batch)
    except Own as error: print("own", error)
"""
UNGUARDED = GUARDED.replace('if __name__ == "__main__":', "if True:")
FORGOTTEN = GUARDED.replace("index == 3", "False").replace("print(batch)", "break")


def test_a_sequence_of_the_main_module_is_found_there(tmp_path: Path) -> None:
    """The module is run once more, as `__mp_main__`, and its own exceptions come back."""
    found = run_program(GUARDED, tmp_path)
    assert found.stderr == ""
    assert found.stdout.splitlines().count("imported as __mp_main__") == 1
    assert found.stdout.splitlines()[-4:] == ["[0 0 0]", "[1 1 1]", "[2 2 2]", "own mine"]


def test_a_program_without_a_guard_is_forked(tmp_path: Path) -> None:
    """It is never run a second time, also if it knows its name for other reasons."""
    found = run_program(UNGUARDED, tmp_path)
    assert found.stderr == ""
    assert found.stdout.splitlines() == ["imported as __main__", "[0 0 0]", "[1 1 1]", "[2 2 2]", "own mine"]


def test_a_program_without_a_guard_that_may_not_be_forked_is_told_of_it(tmp_path: Path) -> None:
    """Its class could be pickled: what is missing is the guard."""
    threaded = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    found = run_program(threaded + UNGUARDED, tmp_path)
    last = found.stderr.strip().splitlines()[-1]
    assert 'put what starts an enqueuer under if __name__ == "__main__"' in last
    assert "threads are running in this program" in last
    assert "cannot be pickled" not in last


def test_a_program_that_forgets_to_stop_ends(tmp_path: Path) -> None:
    """And so does all that it began: its output is at its end."""
    assert run_program(FORGOTTEN, tmp_path).returncode == 0


def test_a_forked_child_has_no_part_in_a_run() -> None:
    """It says so; its end harms nothing, and what it inherited keeps no pool alive."""
    with Run(sequences.Large(4)) as runner:
        images, _ = runner.take()
        expected = images.copy()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                runner.take()
            except RuntimeError:
                os.write(write, b"yes" if (images == expected).all() else b"no")
            finally:
                os._exit(0)
        os.close(write)
        assert os.read(read, 10) == b"yes"
        os.close(read)
        os.waitpid(pid, 0)
        take(runner, 5)


FORKING = """
import sys
sys.path.insert(0, {support!r})
import sequences
from enqueued.enqueuer import processes
from enqueued.enqueuer.runners import Ended, Setup

sequence = sequences.Holding()
runner = processes.ordered(sequence, Setup.of(2, 10))
for epoch in range(4):
    print([runner.take()[:3] for _ in range(3 + epoch)] == [(epoch, index, epoch) for index in range(3 + epoch)])
    runner.join_end_of_epoch(20)
print(sequence.epoch, len(set(sequence.ended_in)))
runner.stop(None)

runner = processes.streamed((number for number in range(5)), Setup.of(2, 10), None)
print(sorted(runner.take() for _ in range(10)))
try:
    runner.take()
except Ended:
    print(runner.running)
"""


def test_what_cannot_be_pickled_is_forked_where_that_is_safe(tmp_path: Path) -> None:
    """A sequence that holds a lock anew for each epoch, in a program without other threads, which a test is not.

    Of a plain generator each worker goes through all of it.
    """
    found = run_program(FORKING.format(support=str(Path(__file__).parents[1] / "support")), tmp_path)
    assert found.stderr == ""
    assert found.stdout.splitlines() == ["True"] * 4 + ["4 1", str(sorted(list(range(5)) * 2)), "False"]


def test_workers_are_seeded_by_their_number() -> None:
    """With a seed reproducibly; each has its own numbers; the longer copy goes on when another is at its end."""

    def drawn(seed: int | None) -> list[Any]:
        runner = processes.streamed(sequences.Cycle(4, extra=3), Setup.of(2, 10), seed)
        try:
            found = []
            while True:
                try:
                    found.append(runner.take())
                except Ended:
                    return found
        finally:
            runner.stop(None)

    one, again, other = drawn(5), drawn(5), drawn(None)
    assert one == again
    assert [batch[:2] for batch in one] == [(n % 2, n // 2) for n in range(8)] + [(0, 4), (0, 5), (0, 6)]
    assert len({batch[2] for batch in one}) == len({batch[3] for batch in one}) == 11
    assert len({batch[2] for batch in other}) == 11
    assert one != other


def test_packing_is_for_what_can_be_made_again() -> None:
    """Exceptions that cannot be are told as text."""
    for error in (sequences.Local(), ValueError("x" * (64 << 20))):
        assert pack_exception(error) is None
    assert pickle.loads(pack_exception(ValueError("x")) or b"").args == ("x",)


def test_what_was_made_before_the_pool_broke_is_still_given() -> None:
    """Then the reason comes, and the memory is given back."""
    with Run(sequences.Large(30), max_queue_size=4) as runner:
        engine = runner._engine
        assert engine is not None
        waiting.until(lambda: len(engine.items) >= 3)
        engine._break(LoadError("the pool broke"))
        waiting.until(lambda: not list(engine.feed.pool.workers()))
        for index in range(3):
            assert (runner.take()[0] == sequences.large(index)[0]).all()
        with pytest.raises(LoadError, match="the pool broke"):
            take(runner, 10)


def test_a_generator_whose_worker_is_gone_cannot_go_on() -> None:
    """It is told after what is known to be made, and what to do."""
    runner = processes.streamed(sequences.Fatal(), Setup.of(1, 2), None)
    try:
        with pytest.raises(RemoteError, match=r"exited with code 7.*start the enqueuer again"):
            take(runner, 4)
        assert not runner.running
    finally:
        runner.stop(None)
