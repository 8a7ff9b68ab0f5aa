"""``enqueued check``, as a user runs it: in a folder with a module."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

MODULE = """
import sys
import enqueued
import numpy as np

class MySeq:
    def __init__(self, n=10, bad=-1, leave=False):
        self.n, self.bad, self.leave, self.ends = n, bad, leave, 0
    def __len__(self):
        return self.n
    def __getitem__(self, i):
        if i == self.bad:
            if self.leave:
                sys.exit("I leave")
            raise ValueError("broken image")
        return np.zeros((4, 256), "f4"), {"ends": self.ends, "i": i}
    def on_epoch_end(self):
        self.ends += 1

class Objects(MySeq):
    def __getitem__(self, i):
        return {"x": np.array([object()])}

class Starting(MySeq):
    def worker_init(self, info):
        self.started = self.ends
    def __getitem__(self, i):
        return {"started": self.started}

def counting():
    for i in range(5):
        yield np.full(i + 1, i)

def shard():
    for i in range(3):
        yield {"replica": enqueued.get_worker_info().replica, "i": i}
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path) -> None:
    (tmp_path / "mymod.py").write_text(MODULE)


def test_a_sequence_is_described(enqueued: Run) -> None:
    """The first batch's parts, its size, the time of some batches and what the workers may reach."""
    done = enqueued("check", "--sequence", "mymod:MySeq", "--workers", "4")
    assert (done.returncode, done.stderr) == (0, "")
    assert "default  mymod:MySeq  (sequence, 10 batches per epoch), loaded in " in done.stdout
    assert "batch[0]          float32     (4, 256)  4.0 KiB" in done.stdout
    assert "(median of 2)" in done.stdout
    assert "4 workers: " in done.stdout


def test_a_position_is_made_in_its_epoch(enqueued: Run) -> None:
    """--position plays the ends of the epochs before it, and makes that batch alone."""
    done = enqueued("check", "--sequence", "mymod:MySeq", "--position", "3:7")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ['batch[1]["ends"]', "int", "3"] in lines
    assert ['batch[1]["i"]', "int", "7"] in lines
    assert "3:7 took" in done.stdout
    assert "median" not in done.stdout


def test_a_generator_is_run_forward(enqueued: Run) -> None:
    """A generator is read up to the position; its end is told."""
    done = enqueued("check", "--generator", "mymod:counting", "--position", "1:3", "-n", "9")
    assert done.returncode == 0, done.stderr
    assert "batch  int64  (4,)" in done.stdout
    assert "epoch 1 ends with 1:4" in done.stdout


def test_a_worker_starts_after_the_epochs_before_its_own(enqueued: Run) -> None:
    """worker_init sees what the ends of epochs have left, as it does in the daemon."""
    done = enqueued("check", "--sequence", "mymod:Starting", "--position", "3:7")
    assert ['batch["started"]', "int", "3"] in [line.split() for line in done.stdout.splitlines()]


def test_a_position_belongs_to_a_replica(enqueued: Run) -> None:
    """With --replicas the batches of that position's replica are read, and no others."""
    done = enqueued("check", "--generator", "mymod:shard", "--replicas", "2", "--position", "0:3", "-n", "5")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ['batch["replica"]', "int", "1"] in lines
    assert ['batch["i"]', "int", "1"] in lines
    assert "epoch 0 of replica 1 ends with 0:5" in done.stdout


def test_every_stream_of_a_file_is_checked(enqueued: Run, tmp_path: Path) -> None:
    """With a file all streams are tried, or the one that is named."""
    streams = '[stream.a]\nsequence = "mymod:MySeq"\n[stream.b]\ngenerator = "mymod:counting"\n'
    (tmp_path / "two.toml").write_text(streams)
    both = enqueued("check", "--config", "two.toml").stdout
    assert "a  mymod:MySeq" in both
    assert "b  mymod:counting" in both
    assert "a  mymod:MySeq" not in enqueued("check", "--config", "two.toml", "--stream", "b").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--sequence", "mymod:MySq"], 3, 'Attribute "MySq" not found in "mymod"'),
        (["--sequence", "mymod:MySeq", "--arg", "n=0"], 3, "is 0"),
        (["--sequence", "mymod:MySeq", "--arg", "bad=1"], 1, "raised ValueError: broken image"),
        (["--sequence", "mymod:MySeq", "--arg", "bad=1", "--arg", "leave=true"], 1, "raised SystemExit: I leave"),
        (["--sequence", "mymod:Objects"], 1, "an array of Python objects"),
        (["--sequence", "mymod:MySeq", "--position", "0:10"], 2, "its epochs have 10 batches, the last is 0:9"),
        (["--generator", "mymod:counting", "--position", "0:8"], 2, "ends before 0:8"),
        (["--sequence", "mymod:MySeq", "--position", "seven"], 2, "is not EPOCH:INDEX"),
        (["--sequence", "mymod:MySeq", "--batch-size", "2"], 2, "batch_size = 2 (flag --batch-size) is for a dataset"),
        ([], 2, "has no source"),
    ],
)
def test_what_is_wrong_is_told_in_the_last_line(enqueued: Run, arguments: list[str], code: int, message: str) -> None:
    """Errors end with their exit code and one line of cause."""
    done = enqueued("check", *arguments)
    assert message in done.stderr.splitlines()[-1]
    assert done.returncode == code


def test_the_traceback_is_the_users_own(enqueued: Run) -> None:
    """Only the user's frames are shown, none of enqueued's."""
    done = enqueued("check", "--sequence", "mymod:MySeq", "--arg", "bad=0")
    assert "mymod.py" in done.stderr
    assert "trial.py" not in done.stderr
    assert "indexed.py" not in done.stderr


def test_the_debugger_opens_where_the_source_raised(enqueued: Run) -> None:
    """--pdb stops in the user's frame, with its variables."""
    flags = ("--sequence", "mymod:MySeq", "--arg", "bad=7", "--position", "0:7", "--pdb")
    done = enqueued("check", *flags, stdin="p 'i is', i\nq\n")
    assert "('i is', 7)" in done.stdout
    assert done.returncode == 1
