"""The benchmark runs and says what it measured; how fast anything is, is not tested."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55, check=False)


@pytest.mark.parametrize("size", ["big", "small"])
def test_enqueued_is_measured_beside_bare_sockets(size: str, tmp_path: Path) -> None:
    """Each system has a row and figures of each round, and the targets that it has no figure for are named."""
    file = tmp_path / "figures.json"
    done = benchmarks(
        "transport", "--seconds", "0.05", "--rounds", "1", "--size", size, "--json", str(file),
        "--against", "pyzmq-tcp", "--against", "relay",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for title in ("enqueued, same host", "enqueued, tcp", "PUSH/PULL, tcp"):
        assert title in done.stdout
    assert "not measured" in done.stdout
    figures = json.loads(file.read_text())
    systems = {entry["system"]: entry["rounds"] for entry in figures["measured"]}
    assert {"enqueued", "enqueued-tcp", "pyzmq-tcp"} <= set(systems)
    assert all(len(rounds) == 1 and rounds[0]["batches"] >= 2 for rounds in systems.values())
    ours, frames = systems["enqueued"][0], systems["enqueued-tcp"][0]
    assert (ours["transport"], frames["transport"]) == ("slots", "frames")
    assert ours["daemon_rss_bytes"] > 0
    assert ("relay" in systems) == (size == "big")


def test_a_tf_data_service_is_measured_or_named() -> None:
    """Where TensorFlow is not installed its row says so."""
    done = benchmarks("transport", "--seconds", "0.05", "--rounds", "1", "--size", "small", "--against", "tf-data")
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("tf.data service")]
    assert ("not installed (tensorflow)" in row) == (importlib.util.find_spec("tensorflow") is None)


def test_an_unknown_peer_is_an_error_that_names_the_known_ones() -> None:
    """A typing error is not a run without peers."""
    done = benchmarks("transport", "--against", "pytorch")
    assert done.returncode == 2
    assert "pytorch" in done.stderr
    assert "pyzmq-ipc" in done.stderr
