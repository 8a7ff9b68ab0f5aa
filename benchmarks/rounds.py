"""Rounds of measurements, A B A B: what disturbs the host for a while disturbs all systems alike."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.batches import Size
from benchmarks.program import ROOT, Failed, end
from benchmarks.systems import System

_START_S = 60.0


@dataclass
class Measured:
    """One system at one size: a result for each round (None where it failed), or why there is none."""

    system: System
    size: Size
    rounds: list[dict[str, Any] | None] = field(default_factory=list)
    trouble: str = ""


Once = Callable[[System, Size, float], dict[str, Any]]
"""Measures a system at a size for so many seconds, or raises `Failed`. Its rate is ``batches_per_s``."""


def measure(
    systems: Sequence[System],
    size: Size,
    seconds: float,
    rounds: int,
    tell: Callable[[str], None],
    once: Once,
) -> list[Measured]:
    """Each of the systems once per round, with fresh processes; `tell` gets a line of progress."""
    measured = [Measured(system, size) for system in systems if size.name in system.sizes]
    for entry in measured:
        if not entry.system.installed:
            entry.trouble = f"not installed ({entry.system.needs})"
    for number in range(rounds):
        for entry in measured:
            if not entry.system.installed:
                continue
            try:
                result = once(entry.system, size, seconds)
            except Failed as failed:
                entry.rounds.append(None)
                entry.trouble = f"failed: {failed}"
                tell(f"{size.name} {number + 1}/{rounds}  {entry.system.name}: {entry.trouble}")
            else:
                entry.rounds.append(result)
                tell(f"{size.name} {number + 1}/{rounds}  {entry.system.name}: {result['batches_per_s']:.0f}/s")
    return measured


def fresh(system: System, size: Size, seconds: float) -> dict[str, Any]:
    """One `benchmarks.trial`, in a process of its own. Raises `Failed`."""
    limit_s = 3 * seconds + _START_S
    with tempfile.TemporaryDirectory(prefix="enq-bench-", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-m", "benchmarks.trial", system.name, size.name, str(seconds), folder]
        # a session of its own, so that all it started can be ended with it
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"nothing after {limit_s:.0f} s") from None
        finally:
            end(process)
    if process.returncode:
        said = err.strip().splitlines()
        raise Failed(said[-1] if said else f"exit code {process.returncode}")
    result: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return result
