"""``python -m benchmarks scaling``: what a batch costs the daemon with many clients, workers, or batches queued."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.batches import ENDLESS, SIZES, Consumer
from benchmarks.report import aligned, host, number
from benchmarks.systems.daemon import cpu_s, resident, started
from enqueued import Client

ROOT = Path(__file__).resolve().parents[1]
IDLE = (1, 10, 100, 500)
WORKERS = (1, 4, 16, 64)
QUEUES = (1, 10, 100, 1000, 10_000)
LENGTHS = (10**3, 10**6, 10**9)
PREFETCH = 64
SLEEP_S = 0.01


@dataclass
class Point:
    """One measurement: `at` of what is varied; the daemon's CPU in us per batch, its memory besides slots in MB."""

    at: int
    batches_per_s: float
    daemon_us: float
    daemon_mb: float


@click.command()
@click.option("--seconds", type=click.FloatRange(0.5), default=3.0, show_default=True, help="Of each measurement.")
@click.option(
    "--only",
    "wanted",
    type=click.Choice(["idle", "busy", "workers", "queue", "epoch"]),
    multiple=True,
    help="Only this series; repeatable.  [default: all]",
)
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures to this file.")
def scaling(seconds: float, wanted: tuple[str, ...], file: Path | None) -> None:
    """Measure what grows, and what must not: the daemon's work for a batch, and its memory.

    Beside a client that takes 2 KB batches there are others that have joined and take nothing; workers sleep 10 ms for
    each batch; the queue and the epoch are short or long.
    """
    where = host()
    click.echo("  ".join(f"{key} {value}" for key, value in where.items()))
    series: dict[str, tuple[str, Callable[[float], Iterator[Point]]]] = {
        "idle": ("idle clients", _idle),
        "busy": ("busy clients", _busy),
        "workers": ("workers that sleep 10 ms", _workers),
        "queue": ("batches in the queue", _queues),
        "epoch": ("batches in an epoch, shuffled", _lengths),
    }
    found: dict[str, list[Point]] = {}
    for short, (name, measure) in series.items():
        if short in wanted or not wanted:
            found[name] = list(measure(seconds))
            click.echo(f"\n{_table(name, found[name])}")
    if file is not None:
        plain = {name: [asdict(point) for point in points] for name, points in found.items()}
        file.write_text(json.dumps({"host": where, "series": plain}, indent=2) + "\n")


def _table(name: str, points: Sequence[Point]) -> str:
    rows = [[name, "batches/s", "daemon's CPU", "daemon's memory"]]
    for one in points:
        cost, memory = number(one.daemon_us, 1, 1, " us"), number(one.daemon_mb, 1, 0, " MB")
        rows.append([number(one.at), number(one.batches_per_s), cost, memory])
    return aligned(rows)


def _idle(seconds: float) -> Iterator[Point]:
    for count in IDLE:
        with (
            _small("--max-clients", "600", "--lag-timeout", "0.5") as (endpoint, pid),
            _others(endpoint, count, "idle"),
        ):
            yield _measure(count, endpoint, pid, seconds)


def _busy(seconds: float) -> Iterator[Point]:
    for count in (1, 10, 50):
        with _small() as (endpoint, pid), _others(endpoint, count - 1, "busy"):
            one = _measure(count, endpoint, pid, seconds)
            yield Point(count, one.batches_per_s * count, one.daemon_us / count, one.daemon_mb)


def _workers(seconds: float) -> Iterator[Point]:
    for count in WORKERS:
        flags = ("--workers", str(count), "--max-queue-size", str(4 * count))
        with started("benchmarks.slow:Sleeping", *flags, seconds=SLEEP_S) as (endpoint, pid):
            yield _measure(count, endpoint, pid, seconds)


def _queues(seconds: float) -> Iterator[Point]:
    for count in QUEUES:
        with _small("--max-queue-size", str(count)) as (endpoint, pid):
            yield _measure(count, endpoint, pid, seconds)


def _lengths(seconds: float) -> Iterator[Point]:
    for count in LENGTHS:
        with _small("--shuffle", "--seed", "1", length=count) as (endpoint, pid):
            yield _measure(count, endpoint, pid, seconds)


def _small(*flags: str, **arguments: Any) -> contextlib.AbstractContextManager[tuple[str, int]]:
    many = ("--workers", "1", "--max-queue-size", "1000")
    return started("benchmarks.batches:Ready", *many, *flags, size="small", **arguments)


def _measure(at: int, endpoint: str, pid: int, seconds: float) -> Point:
    with Client(endpoint, connect_timeout=60, batch_timeout=60, prefetch=PREFETCH) as client:
        consumer, batches = Consumer(SIZES["small"]), client.steps(ENDLESS)
        until = time.monotonic() + 0.3 * seconds
        while time.monotonic() < until:
            consumer.take(next(batches))
        count, cpu, began = 0, cpu_s(pid), time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            consumer.take(next(batches))
            count += 1
        held = resident(pid)
        used = cpu_s(pid) - cpu
        return Point(at, count / took, used / count * 1e6, (held["RssAnon"] + held["RssFile"]) / 1e6)


@contextlib.contextmanager
def _others(endpoint: str, count: int, what: str) -> Iterator[None]:
    """So many clients more, in a process of their own: they have joined when this begins."""
    command = [sys.executable, "-m", "benchmarks.scaling", endpoint, str(count), what]
    others = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert others.stdout is not None
        if others.stdout.readline() != b"ready\n":
            raise click.ClickException(f"{count} {what} clients could not join: see above")
        yield
    finally:
        others.kill()
        others.wait()


def _join(endpoint: str, count: int, what: str) -> None:
    prefetch = PREFETCH if what == "busy" else 2
    clients = [Client(endpoint, batch_timeout=None, connect_timeout=60, prefetch=prefetch) for _ in range(count)]

    def take(client: Client) -> None:
        for _ in client.batches():
            pass

    if what == "busy":
        for client in clients:
            threading.Thread(target=take, args=(client,), daemon=True).start()
    click.echo("ready")
    sys.stdin.read()


if __name__ == "__main__":
    _join(sys.argv[1], int(sys.argv[2]), sys.argv[3])
