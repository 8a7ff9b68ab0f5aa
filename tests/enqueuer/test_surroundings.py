"""Programs that are started in other ways than as a file, or are not as programs usually are."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sequences
from enqueued import OrderedEnqueuer
from enqueuing import Numbered, numbers

pytestmark = pytest.mark.timeout(60)

PROGRAM = """
import sys, threading
from enqueued import OrderedEnqueuer
import numpy as np

class Mine:
    def __init__(self, guard): self.guard = guard
    def __len__(self): return 3
    def __getitem__(self, index): return np.full(3, index)

if __name__ == "__main__":
    for guard in (None, threading.Lock()):  # what cannot be pickled is forked
        with OrderedEnqueuer(Mine(guard), use_multiprocessing=True) as enqueuer:
            enqueuer.start(2)
            batches = enqueuer.get()
            with open(sys.argv[1], "a") as file:
                print(*[int(next(batches)[0]) for _ in range(4)], file=file)
"""
TWICE = "0 1 2 0\n0 1 2 0\n"


def run(command: str, folder: Path) -> str:
    """What the program has written in the end."""
    out = folder / "out"
    done = subprocess.run(
        ["bash", "-c", command.format(python=sys.executable, out=out)],
        cwd=folder, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out.read_text()


@pytest.mark.parametrize("command", ["{python} -m pkg {out}", "{python} pkg {out}", "{python} pkg.pyz {out}"])
def test_packages_folders_and_archives(command: str, tmp_path: Path) -> None:
    """What starts these cannot be imported by another process, so they are forked."""
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__main__.py").write_text(PROGRAM)
    subprocess.run([sys.executable, "-m", "zipapp", "pkg"], cwd=tmp_path, check=True, timeout=30)
    assert run(command, tmp_path) == TWICE


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_program_without_output(closed: str, tmp_path: Path) -> None:
    """As services close what they do not need."""
    (tmp_path / "program.py").write_text(PROGRAM)
    assert run(f"{{python}} program.py {{out}} {closed}", tmp_path) == TWICE


def test_a_program_that_ignores_its_children(tmp_path: Path) -> None:
    """SIGCHLD is ignored, so nobody can know how they end."""
    ignores = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    (tmp_path / "program.py").write_text(ignores + PROGRAM)
    assert run("{python} program.py {out}", tmp_path) == TWICE


class Attributes(dict[str, Any]):
    """A dict whose keys are attributes, and which has no others."""

    __getattr__ = dict.__getitem__


class Unusual(Numbered):
    """Batches of a type of its own."""

    def __getitem__(self, index: int) -> Any:
        return Attributes(x=np.array([index]))


@pytest.mark.parametrize("bound", [10, 0])
def test_batches_of_any_type_can_be_weighed(bound: int) -> None:
    """Looking for their size may raise anything."""
    with OrderedEnqueuer(Unusual()) as enqueuer:
        enqueuer.start(2, bound)
        batches = enqueuer.get()
        assert [int(next(batches)["x"][0]) for _ in range(7)] == [0, 1, 2, 3, 4, 0, 1]


@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_a_run_that_is_over_is_forgotten(use_multiprocessing: bool) -> None:
    """Also when the enqueuer is started again after an error has ended it."""
    enqueuer = OrderedEnqueuer(sequences.Failing(2, sequences.odd), use_multiprocessing)
    runs = []
    for _ in range(3):
        enqueuer.start(1)
        with pytest.raises(sequences.Odd):
            numbers(enqueuer)
        runs.append(weakref.ref(enqueuer._runner))
    enqueuer.stop()
    gc.collect()
    assert [one() is None for one in runs] == [True, True, False]
