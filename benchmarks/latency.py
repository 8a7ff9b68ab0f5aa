"""``python -m benchmarks latency``: how long one waits for a first batch, for workers, for ``enqueued --help``."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import click

from benchmarks.report import aligned, host, number, target_table
from benchmarks.results import Target
from benchmarks.systems.daemon import started
from enqueued import Client
from enqueued.client.query import query

ROOT = Path(__file__).resolve().parents[1]
RUNS = 7
HELP_MS = 150.0
BUILD_S = 1.0
"""A source takes so long to be built."""
WORKERS = 4
COUNT = ("--workers", str(WORKERS))
READY, RESTART, BUILT = "daemon, to its first batch", "restarted trainer, to its first batch", "source built in 1 s: "
RESPAWN = f"{WORKERS} killed workers, source imports torch"


def help_target(runs: int = RUNS) -> Target:
    """The median wall time of ``enqueued --help`` in a fresh process, after one that warms the file cache."""
    took = [_help_s() * 1e3 for _ in range(runs + 1)]
    return Target("enqueued --help", None, HELP_MS, "ms", median(took[1:]))


def _help_s() -> float:
    command = Path(sys.executable).with_name("enqueued")  # what this environment's installation made
    began = time.perf_counter()
    subprocess.run([command, "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


@click.command()
@click.option("--runs", type=click.IntRange(1), default=RUNS, show_default=True, help="How many times each.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures to this file.")
def latency(runs: int, file: Path | None) -> None:
    """Measure waiting: for a daemon, for the first batch of a trainer that was started again, for workers.

    A trainer's time runs from the moment when it has imported what it needs to its first batch; of a DataLoader it has
    to build the source and start a worker in it. What is measured against each other takes turns.
    """
    where = host()
    click.echo("  ".join(f"{key} {value}" for key, value in where.items()))
    torch = importlib.util.find_spec("torch") is not None
    if not torch:
        click.echo("PyTorch DataLoader, and a source that imports torch: not installed (torch)")
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(runs):
        for words, build_s in (("", 0.0), (BUILT, BUILD_S)):
            began = time.perf_counter()
            with started("benchmarks.slow:Built", *COUNT, build_s=build_s) as (endpoint, _):
                _first_of_client(endpoint)
                found[words + READY].append(time.perf_counter() - began)
                found[words + RESTART].append(_trainer("client", endpoint))
            if torch:
                found[f"{words}{RESTART}, DataLoader"].append(_trainer("loader", str(build_s)))
        for method in ("auto", "spawn") if torch else ():
            with started("benchmarks.heavy:Heavy", *COUNT, "--start-method", method) as (endpoint, _):
                found[RESPAWN + ", spawned" * (method == "spawn")].append(_respawn(endpoint))
    click.echo(f"\n{_table(found)}\n\n{target_table(_targets(found))}\n\n{runs} runs of each; medians")
    if file is not None:
        file.write_text(json.dumps({"host": where, "seconds": found}, indent=2) + "\n")


def _table(found: dict[str, list[float]]) -> str:
    rows = [["", "median", "lowest", "highest"]]
    rows += [[what, *(number(f(took), 1e3, 1, " ms") for f in (median, min, max))] for what, took in found.items()]
    return aligned(rows)


def _targets(found: dict[str, list[float]]) -> list[Target]:
    def times(what: str, other: str) -> float | None:
        pairs = zip(found.get(what, ()), found.get(other, ()), strict=False)
        return median(values) if (values := [b / a for a, b in pairs]) else None

    return [
        Target(f"{BUILT}{RESTART}: DataLoader", 20, None, "x", times(BUILT + RESTART, f"{BUILT}{RESTART}, DataLoader")),
        Target(f"{RESTART}: DataLoader", 3, None, "x", times(RESTART, f"{RESTART}, DataLoader")),
        Target(f"{RESPAWN}: spawned", 20, None, "x", times(RESPAWN, f"{RESPAWN}, spawned")),
        help_target(),
    ]


def _first_of_client(endpoint: str) -> float:
    began = time.perf_counter()
    with Client(endpoint, connect_timeout=120) as client:
        next(iter(client))
        return time.perf_counter() - began


def _first_of_loader(build_s: float) -> float:
    from benchmarks.slow import Built

    data = importlib.import_module("torch.utils.data")
    began = time.perf_counter()
    source = Built(build_s)
    next(iter(data.DataLoader(source, batch_size=None, sampler=range(len(source)), num_workers=1)))
    return time.perf_counter() - began


def _trainer(system: str, argument: str) -> float:
    """How long a fresh trainer waits for its first batch."""
    command = [sys.executable, "-m", "benchmarks.latency", system, argument]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    return float(told.stdout)


def _respawn(endpoint: str) -> float:
    """From the death of all workers until as many others are there."""
    with Client(endpoint, connect_timeout=120) as client:
        next(iter(client))
    before = _up(endpoint)
    while len(before) < WORKERS:
        before = _up(endpoint)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    began = time.perf_counter()
    while len(_up(endpoint) - before) < WORKERS:
        time.sleep(0.002)
    return time.perf_counter() - began


def _up(endpoint: str) -> set[int]:
    workers = query("stats", endpoint)["streams"][0]["workers"]
    return {worker["pid"] for worker in workers if worker["state"] != "starting"}


if __name__ == "__main__":
    waited = _first_of_client(sys.argv[2]) if sys.argv[1] == "client" else _first_of_loader(float(sys.argv[2]))
    click.echo(waited)
