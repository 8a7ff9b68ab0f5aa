"""The benchmark of a whole training runs, and its trainer that is started again goes on where it was."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.photographs import PHOTOS
from benchmarks.pipeline import table, targets
from benchmarks.rounds import Measured
from benchmarks.systems import TRAINERS
from benchmarks.training import Network

ROOT = Path(__file__).resolve().parents[2]


def measured(system: str, rate: float, **more: float | bool) -> Measured:
    result = {"batches_per_s": rate, "waited_share": 0.5, "first_s": 1.0, "again_s": 1.0, "same": True, **more}
    return Measured(TRAINERS[system], PHOTOS, [result])


@pytest.mark.timeout(150)
def test_a_trainer_that_is_started_again_is_fed_what_comes_next(tmp_path: Path) -> None:
    """Ours gets the very batch that the first one had there; a peer is measured, or named."""
    file = tmp_path / "pipeline.json"
    few = ["--seconds", "0.2", "--rounds", "1", "--step", "7", "--photos", "32", "--against", "torch"]
    command = [sys.executable, "-m", "benchmarks", "pipeline", *few, "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=140, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(file.read_text())
    found = {entry["system"]: entry for entry in told["measured"]}
    assert list(found) == ["enqueued", "torch"]
    (ours,) = found["enqueued"]["rounds"]
    assert ours["same"]
    assert ours["batches"] >= 3
    assert 0 < ours["waited_share"] < 1
    assert ours["first_s"] > 0
    assert ours["again_s"] > 0
    if importlib.util.find_spec("torch") is None:
        assert "torch: not installed (torch)" in done.stdout
    else:
        assert found["torch"]["rounds"][0]["begun_s"] > 0


def test_the_network_learns(tmp_path: Path) -> None:
    """Dark from bright; and it goes on from what was saved as if nothing had been."""
    rng = np.random.default_rng(0)
    y = np.arange(8) % 2
    x = (rng.normal(0, 0.5, (8, 32, 32, 3)) + (2 * y - 1)[:, None, None, None]).astype(np.float32)
    network = Network()
    losses = [network.learn(x, y) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    network.save(tmp_path / "checkpoint.npz", {"index": 30})
    other = Network()
    assert other.load(tmp_path / "checkpoint.npz") == {"index": 30}
    assert other.learn(x, y) == network.learn(x, y)


def test_a_peer_that_is_not_installed_is_named() -> None:
    """Its row says so."""
    missing = Measured(replace(TRAINERS["tf-data"], needs="no_such"), PHOTOS, trouble="not installed (no_such)")
    shown = table(PHOTOS, [measured("enqueued", 40.0), measured("keras", 20.0, same=False, begun_s=0.5), missing], 200)
    rows = {line.split("  ")[0]: line for line in shown.splitlines()}
    assert "2.00 x" in rows["Keras 3 OrderedEnqueuer"]
    assert rows["Keras 3 OrderedEnqueuer"].endswith("no")
    assert rows["enqueued, one daemon"].endswith("yes")
    assert "not installed (no_such)" in rows["tf.data service, in process"]


def test_targets_are_ratios_to_the_dataloader() -> None:
    """Steps a second, and how much sooner a trainer is there again."""
    found = targets([measured("enqueued", 40.0, again_s=0.1), measured("torch", 40.0, again_s=4.0)], 200)
    assert [(target.value, target.verdict) for target in found] == [(1.0, "reached"), (40.0, "reached")]
    assert [target.verdict for target in targets([measured("enqueued", 40.0)], 200)] == ["not measured"] * 2
