"""``python -m benchmarks latency``: how long one waits for a first batch, for workers, for ``enqueued --help``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks.comparison import peers
from benchmarks.program import program, tell
from benchmarks.report import aligned, host, number, target_table
from benchmarks.results import Target
from benchmarks.systems import PEERS, TRAINERS, System
from benchmarks.systems.daemon import started
from benchmarks.systems.trainers import needed
from enqueued import Client
from enqueued.client.query import query

RUNS = 7
HELP_MS = 150.0
SOURCE = "benchmarks.slow:Built"
BUILD_S = 1.0
"""A source takes so long to be built."""
WORKERS = 4
COUNT = ("--workers", str(WORKERS))
READY, RESTART, BUILT = "daemon, to its first batch", "restarted trainer, to its first batch", "source built in 1 s: "
RESPAWN = f"{WORKERS} killed workers, source imports torch"
SPAWNED = {"spawn": System("spawn", "the pool, spawned", "", needs="torch")}
"""What our own pool does without its zygote; only for workers that have died."""


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
@peers("--against", "Only this peer, or those whose name begins so", PEERS | SPAWNED)
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures to this file.")
def latency(runs: int, systems: list[System], file: Path | None) -> None:
    """Measure waiting: for a daemon, for the first batch of a trainer that was started again, for workers.

    A trainer's time runs from the moment when it has imported what it needs to its first batch; a peer has to build
    the source and start a worker for it. What is measured against each other takes turns.
    """
    where = host()
    click.echo("  ".join(f"{key} {value}" for key, value in where.items()))
    found: dict[str, list[float]] = defaultdict(list)
    missing = {_words(system, words): system for system in systems for words in ("", BUILT) if not system.installed}
    installed = [system for system in systems if system.installed]
    for _ in range(runs):
        for words, build_s in (("", 0.0), (BUILT, BUILD_S)):
            began = time.perf_counter()
            with started(SOURCE, *COUNT, build_s=build_s) as (endpoint, _):
                _first("enqueued", {"endpoint": endpoint})
                found[words + READY].append(time.perf_counter() - began)
                found[words + RESTART].append(_trainer("enqueued", {"endpoint": endpoint}))
            told = {"source": SOURCE, "arguments": {"build_s": build_s}, "workers": 1}
            for system in installed:
                if system.name in PEERS:
                    found[_words(system, words)].append(_trainer(system.name, told))
        for method in ("auto", "spawn") if SPAWNED["spawn"] in installed else ():
            with started("benchmarks.heavy:Heavy", *COUNT, "--start-method", method) as (endpoint, _):
                found[RESPAWN + ", spawned" * (method == "spawn")].append(_respawn(endpoint))
    click.echo(f"\n{_table(found, missing)}\n\n{target_table(_targets(found))}\n\n{runs} runs of each; medians")
    if file is not None:
        file.write_text(json.dumps({"host": where, "seconds": found}, indent=2) + "\n")


def _words(system: System, words: str) -> str:
    return f"{RESPAWN}, spawned" if system.name in SPAWNED else f"{words}{RESTART}, {system.title}"


def _table(found: dict[str, list[float]], missing: dict[str, System]) -> str:
    rows = [["", "median", "lowest", "highest"]]
    rows += [[what, *(number(f(took), 1e3, 1, " ms") for f in (median, min, max))] for what, took in found.items()]
    rows += [[what, f"not installed ({system.needs})", "-", "-"] for what, system in missing.items()]
    return aligned(rows)


def _targets(found: dict[str, list[float]]) -> list[Target]:
    def times(what: str, other: str) -> float | None:
        pairs = zip(found.get(what, ()), found.get(other, ()), strict=False)
        return median(values) if (values := [b / a for a, b in pairs]) else None

    return [
        Target(f"{BUILT}{RESTART}: DataLoader", 20, None, "x", times(BUILT + RESTART, _words(PEERS["torch"], BUILT))),
        Target(f"{RESTART}: DataLoader", 3, None, "x", times(RESTART, _words(PEERS["torch"], ""))),
        Target(f"{RESPAWN}: spawned", 20, None, "x", times(RESPAWN, f"{RESPAWN}, spawned")),
        help_target(),
    ]


def _first(system: str, told: dict[str, Any]) -> float:
    needed(TRAINERS[system].needs)
    began = time.perf_counter()
    with TRAINERS[system].open(**told) as feed:
        next(feed.batches)
        return time.perf_counter() - began


def _trainer(system: str, told: dict[str, Any]) -> float:
    """How long a fresh trainer waits for its first batch."""
    with program("benchmarks.latency", system, json.dumps(told), limit_s=120) as trainer:
        return float(trainer.hear())


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
    tell(_first(sys.argv[1], json.loads(sys.argv[2])))
