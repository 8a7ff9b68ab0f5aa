from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn", reason="the examples need scikit-learn: pip install 'enqueued[demo]'")

HOUSE = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(120)


def run(what: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The example, as it is typed."""
    command = [sys.executable, "examples/queue_runner.py", what, str(folder)]
    return subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=False, timeout=50)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example, imported as the process that receives the names does."""
    monkeypatch.syspath_prepend(str(HOUSE / "examples"))
    return importlib.import_module("queue_runner")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as text files, made once."""
    made = tmp_path_factory.mktemp("digits")
    done = run("make", made)
    assert done.stdout == "1797 records in 18 files\n", done.stderr
    return made


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "digits"))


def counted(folder: Path) -> dict[int, int]:
    """How often each digit is in the files, read the plain way."""
    lines = [line for path in folder.iterdir() for line in path.read_text().splitlines()]
    return dict(sorted(Counter(int(line[0]) for line in lines).items()))


def test_every_record_comes_once_and_then_the_end(folder: Path) -> None:
    """The queues close in sequence, and no thread is left."""
    done = run("read", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"1797 records in 29 batches: {counted(folder)}\n1 thread is left")


def test_the_first_error_is_reported(folder: Path) -> None:
    """A line that is no record stops all stages, and the error says where it is."""
    spoilt = folder / "07.csv"
    lines = spoilt.read_text().splitlines()
    lines[16] = "7,0,zero"
    spoilt.write_text("\n".join(lines))
    done = run("read", folder)
    assert done.returncode == 1
    assert re.fullmatch(r"after \d+ records: 07\.csv, line 17: invalid literal .*'zero'\n", done.stderr)


def test_an_empty_folder_ends_at_once(tmp_path: Path) -> None:
    """There is nothing to wait for."""
    done = run("read", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 records in 0 batches: {}\n")


def test_it_runs_in_another_process(folder: Path) -> None:
    """What is sent are names; the other process does the same work."""
    done = run("ship", folder)
    assert done.returncode == 0, done.stderr
    sent, read, left = done.stdout.splitlines()
    assert read == f"1797 records in 29 batches: {counted(folder)}"
    sender = re.fullmatch(r"process (\d+) sends \d+ bytes", sent)
    receiver = re.fullmatch(r"1 thread is left, process (\d+)", left)
    assert sender
    assert receiver
    assert sender[1] != receiver[1]


def test_only_the_last_batch_is_smaller(reader: Any, folder: Path) -> None:
    """Batches are float32 of 0 to 1, with their labels."""
    found = reader.Reader(folder)
    for runner in found.runners():
        runner.create_threads(daemon=True, start=True)
    batches = [found.batches.dequeue() for _ in range(29)]
    with pytest.raises(reader.OutOfRangeError):
        found.batches.dequeue()
    assert [len(labels) for _, labels in batches] == [64] * 28 + [5]
    assert all(images.shape == (len(labels), 8, 8) for images, labels in batches)
    assert max(float(images.max()) for images, _ in batches) == 1
