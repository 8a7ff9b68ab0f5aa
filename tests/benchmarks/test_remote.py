"""The benchmark over tcp runs with one client and with four; how fast anything is, is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.batches import SIZES
from benchmarks.remote import table, targets
from benchmarks.rounds import Measured
from benchmarks.systems import REMOTE

ROOT = Path(__file__).resolve().parents[2]


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "remote", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55, check=False)


def measured(system: str, *rates: float) -> Measured:
    return Measured(REMOTE[system], SIZES["mid"], [{"batches_per_s": rate} for rate in rates])


@pytest.mark.parametrize("size", ["big", "mid"])
def test_each_client_has_a_part_of_the_batches(size: str, tmp_path: Path) -> None:
    """All are counted, those of the daemon are members of one group and get frames."""
    file = tmp_path / "figures.json"
    done = benchmarks("--seconds", "0.05", "--rounds", "1", "--size", size, "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "PUSH/PULL, tcp, mark 10, 4 clients" in done.stdout
    found = json.loads(file.read_text())
    systems = {entry["system"]: entry["rounds"] for entry in found["measured"]}
    assert list(systems) == ["enqueued-1", "pyzmq-1", "enqueued-4", "pyzmq-4"]
    for name, (result,) in systems.items():
        assert len(result["clients"]) == REMOTE[name].clients
        assert all(client["batches"] for client in result["clients"])
        assert result.get("transport") == (["frames"] * REMOTE[name].clients if name.startswith("enqueued") else None)
    assert [target["what"].partition(":")[0] for target in found["targets"]] == [size] * 2


def test_ratios_are_between_as_many_clients() -> None:
    """One beside one, four beside four; what was not measured is said."""
    rates = {"enqueued-1": (90.0, 9.0), "pyzmq-1": (90.0, 10.0), "enqueued-4": (80.0, 8.0), "pyzmq-4": (100.0, 10.0)}
    found = targets([measured(name, *both) for name, both in rates.items()], ["mid"])
    assert [(target.value, target.verdict) for target in found] == [(0.95, "reached"), (0.8, "NOT reached")]
    assert [target.verdict for target in targets([measured("enqueued-1", 90.0)], ["mid"])] == ["not measured"] * 2


def test_a_peer_that_is_not_installed_is_named() -> None:
    """Its row says so."""
    missing = Measured(replace(REMOTE["pyzmq-4"], needs="no_such"), SIZES["mid"], trouble="not installed (no_such)")
    assert "pyzmq-4: not installed (no_such)" in table(SIZES["mid"], [measured("enqueued-4", 80.0), missing])
