"""The benchmark of the enqueuers runs and says what it measured; how fast anything is, is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.batches import SIZES
from benchmarks.inprocess import gap_table, rate_table, targets
from benchmarks.rounds import Measured
from benchmarks.systems import IN_PROCESS

ROOT = Path(__file__).resolve().parents[2]


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "inprocess", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55, check=False)


def measured(system: str, size: str, *rates: float, **more: float) -> Measured:
    return Measured(IN_PROCESS[system], SIZES[size], [{"batches_per_s": rate, **more} for rate in rates])


@pytest.mark.parametrize("size", ["big", "mid", "small"])
def test_threads_are_measured(size: str, tmp_path: Path) -> None:
    """With figures of each round, and the targets that have no figure are named."""
    file = tmp_path / "figures.json"
    options = ["--seconds", "0.05", "--rounds", "1", "--size", size, "--only", "threads", "--json", str(file)]
    done = benchmarks(*options)
    assert done.returncode == 0, done.stderr
    assert "OrderedEnqueuer, 2 threads" in done.stdout
    assert "not measured" in done.stdout
    rounds = {entry["system"]: entry["rounds"] for entry in json.loads(file.read_text())["measured"]}
    assert rounds["threads"][0]["batches"] >= 2
    assert ("threads-epochs" in rounds) == (size == "mid")
    if size == "mid":
        assert rounds["threads-epochs"][0]["gap_ms"] > 0
        assert "between epochs" in done.stdout


def test_processes_are_measured(tmp_path: Path) -> None:
    """The same with two worker processes."""
    done = benchmarks("--seconds", "0.05", "--rounds", "1", "--size", "mid", "--only", "processes")
    assert done.returncode == 0, done.stderr
    assert "OrderedEnqueuer, 2 processes" in done.stdout


def test_an_unknown_system_is_an_error_that_names_the_known_ones() -> None:
    """A typing error is not a run without it."""
    done = benchmarks("--only", "kreas")
    assert done.returncode == 2
    assert "kreas" in done.stderr
    assert "keras-threads" in done.stderr


def test_a_peer_that_is_not_installed_is_named() -> None:
    """Its row says so, in both tables."""
    for name, table in (("keras-threads", rate_table), ("keras-threads-epochs", None)):
        missing = Measured(replace(IN_PROCESS[name], needs="no_such"), SIZES["mid"], trouble="not installed (no_such)")
        shown = table(SIZES["mid"], [missing]) if table else gap_table([missing])
        assert "keras-threads" in shown
        assert "not installed (no_such)" in shown


def test_ratios_say_how_much_ours_is_better() -> None:
    """More batches a second, and less time between epochs."""
    found = targets(
        [
            measured("processes", "mid", 80.0, 8.0),
            measured("keras-processes", "mid", 8.0, 0.8),
            measured("processes-epochs", "mid", 1.0, gap_ms=0.5),
            measured("keras-processes-epochs", "mid", 1.0, gap_ms=150.0),
        ],
        ["mid"],
    )
    assert [(target.value, target.verdict) for target in found] == [(10.0, "reached"), (300.0, "reached")]
