"""``enqueued check --deterministic``, as a user runs it, over sources of all kinds."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from waiting import until

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SUPPORT = str(Path(__file__).parents[1] / "support")
Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(enqueued: Run) -> Check:
    """Checks a source of `tests/support/sources/determinism.py`: exit code, output with lines joined, errors."""

    def run(name: str, *flags: str, kind: str = "sequence") -> tuple[int, str, str]:
        source = (f"--{kind}", f"sources.determinism:{name}", "--app-dir", SUPPORT)
        done = enqueued("check", *source, "--deterministic", *flags, PYTHONHASHSEED="0")
        return done.returncode, done.stdout, done.stderr

    return run


def verdict(output: str) -> str:
    """What it comes to, on one line."""
    return re.sub(r"\s+", " ", output[output.index("=>") :])


def rows(output: str) -> dict[str, list[str]]:
    """The table: what was found for each position."""
    lines = [line.split() for line in output.splitlines()]
    return {line[0]: line[1:] for line in lines if len(line) > 1 and re.fullmatch(r"\d+:\d+", line[0])}


@pytest.mark.parametrize("name", ["Same", "Turning", "Threaded"])
def test_a_source_that_makes_the_same_again_is_deterministic(check: Check, name: str) -> None:
    """Seeded randomness, NaNs, an `on_epoch_end` that is replayed; also where the image must not be forked."""
    code, output, errors = check(name)
    assert (code, errors) == (0, "")
    last = 10 if name == "Turning" else 9  # it grows between epochs
    assert list(rows(output)) == ["0:0", "0:4", "0:9", "1:0", f"1:{(last + 1) // 2 if last == 10 else 4}", f"1:{last}"]
    assert {found for cells in rows(output).values() for found in cells} == {"equal"}
    assert verdict(output) == "=> deterministic: all of them are the same to the bit. "
    assert ("not forked, because threads are running in it: of the source" in output) == (name == "Threaded")


@pytest.mark.parametrize(
    ("name", "beside", "anew", "words"),
    [
        ("Unseeded", "equal", "differs", "the same alone and beside others, but another in a second process"),
        ("Drawing", "differs", "differs", "another each time: it draws from a generator that is seeded by nobody"),
        ("Counting", "differs", "equal", "depends on what the worker made before"),
        ("Changing", "differs", "equal", "an array that is changed in place"),
        ("Numbered", "differs", "equal", "or on which worker it is"),
        ("Hashing", "equal", "differs", "depends on the hash seed of the process"),
    ],
)
def test_why_a_batch_differs_is_told(check: Check, name: str, beside: str, anew: str, words: str) -> None:
    """Each cause shows in its own way, and with its own remedy."""
    code, output, _ = check(name)
    assert code == 1
    assert rows(output)["0:0"] == [beside, anew]
    assert words in verdict(output)


def test_the_leaf_that_differs_is_named(check: Check) -> None:
    """With its path, how much of it differs, where first, and both values."""
    output = check("Unseeded")[1]
    assert re.search(
        r'  0:0, alone and built anew:\n    batch\[0\]\["x"\]: 47 of 128 numbers differ, first at \[1, 17\]: '
        r"0\.\d+ and 0\.\d+\n",
        output,
    )


def test_what_happens_between_epochs_is_compared(check: Check) -> None:
    """An `on_epoch_end` that shuffles with an unseeded generator shows in epoch 1."""
    code, output, _ = check("Straying")
    assert code == 1
    assert rows(output)["0:9"] == ["equal", "equal"]
    assert rows(output)["1:9"] == ["differs", "differs"]
    assert "another from epoch 1 on when it is built anew" in verdict(output)


def test_a_source_that_cannot_be_forked_is_judged_alike(check: Check) -> None:
    """With --start-method spawn each worker builds the source for itself."""
    assert "depends on what the worker made before" in verdict(
        check("Counting", "--start-method", "spawn", "-n", "2")[1]
    )
    code, output, _ = check("Unseeded", "--start-method", "spawn", "-n", "1")
    assert (code, rows(output)["0:0"]) == (1, ["differs", "differs"])


def test_threads_do_not_seed_the_global_generators(check: Check) -> None:
    """With --pool thread a source that draws from them is told so."""
    code, output, _ = check("Same", "--pool", "thread", "-n", "1")
    assert (code, rows(output)["0:0"]) == (1, ["differs", "equal"])
    assert "with --pool thread random and np.random are not seeded" in verdict(output)


def test_a_position_is_chosen(check: Check) -> None:
    """--position names the first one and -n how many, up to the epoch's end."""
    assert list(rows(check("Turning", "--position", "3:11", "-n", "9")[1])) == ["3:11", "3:12"]
    code, _, errors = check("Same", "--position", "0:10")
    assert code == 2
    assert "0:10 is no position of sources.determinism:Same: its epochs have 10 batches, the last is 0:9" in errors


@pytest.mark.parametrize(
    ("name", "flags", "found"),
    [
        ("counted", [], {"0:0": ["equal"], "0:1": ["equal"], "0:2": ["equal"]}),
        ("counted", ["--position", "1:3", "-n", "9"], {"1:3": ["equal"], "1:4": ["equal"]}),
        ("shard", ["--replicas", "3", "-n", "4"], {f"0:{index}": ["equal"] for index in range(4)}),
        ("wild", ["-n", "2"], {"0:0": ["equal"], "0:1": ["differs"]}),
        ("hashed", ["-n", "1"], {"0:0": ["differs"]}),
    ],
)
def test_a_generator_is_read_twice(check: Check, name: str, flags: list[str], found: dict[str, list[str]]) -> None:
    """Its first batches are compared, and it is said that its past cannot be made again."""
    code, output, _ = check(name, *flags, kind="generator")
    assert rows(output) == found
    assert code == (["differs"] in found.values())
    assert "a generator only goes forward: its past, what has left the queue, cannot be made again" in verdict(output)
    assert ("epoch 1 ends with 1:4" in output) == ("1:4" in found)


def test_a_generator_that_ends_before_the_position_is_told(check: Check) -> None:
    """There is nothing to compare then."""
    code, _, errors = check("counted", "--position", "0:8", kind="generator")
    assert code == 2
    assert "ends before 0:8" in errors


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("die", 1, "the process that made 0:5 of sources.determinism:Failing was killed by SIGSEGV (beside others)"),
        ("leave", 1, "the process that made 0:5 of sources.determinism:Failing exited with code 0 (beside others)"),
        ("hang", 1, "0:5 of sources.determinism:Failing was not made within 1 s (see --make-timeout) (beside others)"),
        ("raise", 1, "at position 0:5 (beside others)"),
        ("die at load", 3, "the process that loaded sources.determinism:Failing was killed by SIGSEGV"),
        ("leave at load", 3, "the process that loaded sources.determinism:Failing exited with code 0"),
        ("hang at load", 3, "sources.determinism:Failing was not loaded within 2 s (see --load-timeout)"),
        ("raise at load", 3, "sources.determinism:Failing raised ValueError: made 0"),
    ],
)
def test_a_source_that_fails_is_an_error(check: Check, how: str, code: int, words: str) -> None:
    """Whatever it does, there is one line that says so, and what it was doing."""
    limits = ("--load-timeout", "2", "--make-timeout", "1")
    found, _, errors = check("Failing", "--arg", f"how={how}", "--arg", "late=true", *limits)
    assert words in errors.splitlines()[-1]
    assert found == code
    if how.startswith("raise"):
        assert "in _fail" in errors
        assert "testimony.py" not in errors


def test_what_cannot_travel_is_named(check: Check) -> None:
    """As `enqueued check` alone says it."""
    code, _, errors = check("Objects")
    assert code == 1
    assert errors.startswith('enqueued: batch["x"]: an array of Python objects')


def test_it_takes_no_debugger(check: Check) -> None:
    """--pdb is for a batch that is made here."""
    code, _, errors = check("Same", "--pdb")
    assert (code, "--deterministic makes them elsewhere" in errors) == (2, True)


@pytest.mark.parametrize("how", ["hang", "hang at load"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_check_that_is_ended(tmp_path: Path, how: str, number: signal.Signals) -> None:
    """However it ends: the process that hangs in user code is gone, and so is what that one has started."""
    note = tmp_path / "pids"
    source = ["--sequence", "sources.determinism:Failing", "--app-dir", SUPPORT, "--deterministic", "--position", "0:5"]
    arguments = ["--arg", f"how={how}", "--arg", f"where={note}"]

    def hangs() -> bool:
        return note.exists() and note.read_text().endswith("\n")

    with (
        (tmp_path / "errors").open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "enqueued_cli", "check", *source, *arguments],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={name: value for name, value in os.environ.items() if not name.startswith("ENQUEUED_")},
        ) as process,
    ):
        until(lambda: process.poll() is not None or hangs(), within=30, what="the source hangs")
        assert process.poll() is None, (tmp_path / "errors").read_text()
        process.send_signal(number)
        code = process.wait(timeout=10)
    assert code == (130 if number == signal.SIGINT else -number)
    pids = [int(pid) for pid in note.read_text().split()]
    until(lambda: not any(alive(pid) for pid in pids), what=f"{pids} are gone")


def alive(pid: int) -> bool:
    """Whether it runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
