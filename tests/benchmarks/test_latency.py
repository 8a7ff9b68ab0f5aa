"""The benchmarks of waiting, sharing and scaling, run for a moment: what they measure is there, and plausible."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(150)


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m benchmarks ARGUMENTS``."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=140, check=False)
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
    benchmarks("sharing", "--seconds", "1", "--rounds", "1", "--photos", "32", "--json", str(file))
    trainers = json.loads(file.read_text())["trainers"]
    assert list(trainers) == ["1", "2", "4"]
    for rates in trainers.values():
        assert rates["shared"][0] > 0
        assert rates["made"][0] < 1.9
