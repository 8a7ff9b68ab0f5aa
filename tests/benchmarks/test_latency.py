"""The benchmarks of waiting, sharing and scaling, run for a moment: what they measure is there, and plausible."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.sharing import Rates, table
from benchmarks.systems import PEERS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(150)


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m benchmarks ARGUMENTS``."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=140, check=False)


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same, and it succeeds."""
    done = ran(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_latency(tmp_path: Path) -> None:
    """The first batch of a daemon waits for its source; how long a trainer waits that is started again is measured."""
    file = tmp_path / "latency.json"
    done = benchmarks("latency", "--runs", "1", "--json", str(file))
    assert "enqueued --help" in done.stdout
    seconds = json.loads(file.read_text())["seconds"]
    (built,) = seconds["source built in 1 s: daemon, to its first batch"]
    (again,) = seconds["source built in 1 s: restarted trainer, to its first batch"]
    assert built > 1
    assert again > 0
    for title, needs in (("PyTorch DataLoader", "torch"), ("tf.data service", "tensorflow")):
        rows = [line for line in done.stdout.splitlines() if f"first batch, {title}" in line]
        assert len(rows) == 2
        missing = importlib.util.find_spec(needs) is None
        assert all((f"not installed ({needs})" in row) == missing for row in rows)


def test_latency_against_one_peer() -> None:
    """Of the others nothing is said."""
    said = benchmarks("latency", "--runs", "1", "--against", "keras").stdout
    assert "first batch, Keras 3" in said
    assert "first batch, PyTorch" not in said
    assert "first batch, tf.data" not in said


def test_scaling(tmp_path: Path) -> None:
    """Each series has its points, also where a thousand million batches are shuffled."""
    file = tmp_path / "scaling.json"
    benchmarks("scaling", "--seconds", "0.5", "--only", "epoch", "--json", str(file))
    (points,) = json.loads(file.read_text())["series"].values()
    assert [point["at"] for point in points] == [10**3, 10**6, 10**9]
    assert all(point["batches_per_s"] > 0 and 0 < point["daemon_mb"] < 200 for point in points)


def test_sharing(tmp_path: Path) -> None:
    """Every batch is made about once, however many trainers take it."""
    file = tmp_path / "sharing.json"
    few = ["--seconds", "1", "--rounds", "1", "--photos", "32", "--against", "torch"]
    done = benchmarks("sharing", *few, "--json", str(file))
    trainers = json.loads(file.read_text())["trainers"]
    assert list(trainers) == ["1", "2", "4"]
    for rates in trainers.values():
        assert rates["shared"][0] > 0
        assert rates["made"][0] < 1.9
        assert list(rates["private"]) == ["torch"] * (importlib.util.find_spec("torch") is not None)
    assert "Keras" not in done.stdout


@pytest.mark.parametrize("command", ["latency", "pipeline", "sharing"])
def test_an_unknown_peer_is_an_error_that_names_the_known_ones(command: str) -> None:
    """A typing error is not a run without peers."""
    done = ran(command, "--against", "pytorch")
    assert done.returncode == 2
    assert "pytorch" in done.stderr
    assert "tf-data" in done.stderr


def test_a_private_peer_that_is_not_installed_is_named() -> None:
    """In its column, and below."""
    rates = Rates(shared=[90.0], private=defaultdict(list, torch=[45.0]), made=[1.0])
    missing = replace(PEERS["tf-data"], needs="no_such")
    shown = table({2: rates}, [PEERS["torch"], missing])
    assert "45.0/s   2.00 x" in shown
    assert "not installed (no_such)" in shown
