"""How a run begins, and how a program ends that forgets it."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import waiting
from enqueued import OrderedEnqueuer
from enqueuing import Arriving, Stuck, numbers
from gate import Gate

pytestmark = pytest.mark.timeout(30)
SUPPORT = Path(__file__).parents[1] / "support"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_start_waits_for_no_batch(use_multiprocessing: bool, workers: int, tmp_path: Path) -> None:
    """It returns at once, while the first batch is still to be made."""
    with Gate(tmp_path / "gate") as gate, OrderedEnqueuer(Stuck(gate.path, 0), use_multiprocessing) as enqueuer:
        enqueuer.start(workers)
        assert enqueuer.is_running()
        gate.open()
        assert numbers(enqueuer, 3) == [0, 1, 2]


def test_a_start_waits_for_no_process(tmp_path: Path) -> None:
    """Nor for the sequence to arrive there."""
    with Gate(tmp_path / "gate") as gate, OrderedEnqueuer(Arriving(gate.path), True) as enqueuer:
        enqueuer.start(2)
        assert enqueuer.is_running()
        gate.open()
        assert numbers(enqueuer, 3) == [0, 1, 2]


def test_a_stop_while_the_sequence_arrives(tmp_path: Path) -> None:
    """Who waits for the first batch gets the end, and nobody is left before the gate."""
    with Gate(tmp_path / "gate") as gate:
        enqueuer = OrderedEnqueuer(Arriving(gate.path), True)
        enqueuer.start(2)
        with ThreadPoolExecutor(1) as pool:
            rest = pool.submit(numbers, enqueuer)
            (arriving,) = waiting.until(lambda: list(tmp_path.glob("*.arriving")), within=20)
            enqueuer.stop()
            assert rest.result(10) == []
            assert not Path(f"/proc/{arriving.stem}").exists()


FORGOTTEN = """
import sys, threading
import enqueued, enqueuing, sequences

if __name__ == "__main__":
    if sys.argv[1] == "generator":
        enqueuer = enqueued.GeneratorEnqueuer(enqueuing.Safe(), sys.argv[2] == "processes")
    else:
        enqueuer = enqueued.OrderedEnqueuer(sequences.Hanging(first=2), sys.argv[2] == "processes")
    enqueuer.start(1 if sys.argv[1] == "generator" else 2)
    print(enqueuing.numbers(enqueuer, 2))
    if sys.argv[1] == "waiting":
        threading.Thread(target=enqueuing.numbers, args=(enqueuer,), daemon=True).start()
"""


@pytest.mark.parametrize("what", ["generator", "hanging", "waiting"])
def test_a_program_that_forgets_to_stop_ends(use_multiprocessing: bool, what: str, tmp_path: Path) -> None:
    """Also when its workers never finish what they make, and when a daemon thread of its own waits for that."""
    file = tmp_path / "program.py"
    file.write_text(FORGOTTEN)
    done = subprocess.run(
        [sys.executable, str(file), what, "processes" if use_multiprocessing else "threads"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 1]\n", "")
