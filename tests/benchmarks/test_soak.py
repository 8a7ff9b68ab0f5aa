"""The long run, cut short: what it samples is there, and what grows or comes wrong is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.program import Failed
from benchmarks.soak import SAMPLES, Check, Numbered, growths, table

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(150)


def test_a_short_run_samples_every_process(tmp_path: Path) -> None:
    """Across ends of epochs, with a second client that comes and goes; so few batches may not be enough to be warm."""
    file = tmp_path / "soak.json"
    command = [sys.executable, "-m", "benchmarks", "soak", "--batches", "20000", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=140, check=False)
    assert file.exists(), done.stderr
    told = json.loads(file.read_text())
    assert all(len(values) == SAMPLES for values in told["series"].values())
    for part in ("daemon", "zygotes", "workers", "client"):
        for figure in (f"{part}: memory, MB", f"{part}: descriptors", f"{part}: threads"):
            assert min(told["series"][figure]) > 0
            assert figure in done.stdout
    assert done.returncode == ("GROWS" in done.stdout)


def test_what_grows_is_told() -> None:
    """Memory beyond noise, and whatever is counted; how fast it was is only shown."""
    up = np.linspace(0, 1, SAMPLES)
    series = {
        "batches/s": 1e5 * up,
        "client: memory, MB": 40 + 2 * up,
        "daemon: memory, MB": 40 + 4 * up,
        "daemon: descriptors": 30 + np.round(up),
        "client: descriptors": np.where(np.arange(SAMPLES) % 7 == 0, 29.0, 28.0),
    }
    found = growths({name: values.tolist() for name, values in series.items()})
    assert [one.verdict for one in found] == ["", "flat", "GROWS", "GROWS", "flat"]
    assert table(found).count("GROWS") == 2


@pytest.mark.parametrize("wrong", ["position", "end", "data"])
def test_a_wrong_batch_ends_the_run(wrong: str) -> None:
    """One of another position, one that was written over at its end, and one with other data."""
    source, check = Numbered(10), Check()
    for index in range(10):
        check.look(source[index], index)
    data, labels = source[6 if wrong == "position" else 5]
    if wrong == "end":
        labels[-1] = 6
    if wrong == "data":
        data, _ = source[6]
    with pytest.raises(Failed):
        check.look((data, labels), 5)
