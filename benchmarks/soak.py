"""``python -m benchmarks soak``: millions of batches through one daemon; nothing may grow."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.batches import SIZES, Pair, Ready
from benchmarks.program import Failed
from benchmarks.report import aligned, host, number
from benchmarks.systems.daemon import resident, started
from enqueued import Client

SMALL = SIZES["small"]
SAMPLES = 200
"""In all. After each a second client joins, takes a few batches and leaves."""
EPOCHS = 100
VISIT = 100
"""Batches that the second client takes."""
MOST_MB = 2.0
"""Memory may differ by so much between the first samples and the last; what is counted may not differ."""


class Numbered(Ready):
    """Ready small batches; the labels are the position's number."""

    def __init__(self, length: int) -> None:
        super().__init__(SMALL.name, length)

    def __getitem__(self, index: int) -> Pair:
        """One of the ready batches, with its number."""
        return super().__getitem__(index)[0], np.full(SMALL.shape[0], index)


class Check:
    """Whether each batch is the one that it should be."""

    def __init__(self) -> None:
        self._firsts = [data[0, 0] for data, _ in SMALL.batches(4)]

    def look(self, batch: Any, index: int) -> None:
        """Raises `Failed` for a batch of another position, or with other numbers, at its ends at least."""
        data, labels = batch
        if not (labels[0] == labels[-1] == index and data[0, 0] == self._firsts[index % 4]):
            raise Failed(f"batch {labels[0]} came in the place of {index}, or with wrong numbers")


@dataclass(frozen=True)
class Growth:
    """A figure at the beginning, once everything is warm, and at the end; `most` may lie between them, if anything."""

    name: str
    first: float
    last: float
    most: float | None

    @property
    def verdict(self) -> str:
        """Whether it has grown; nothing of what is only shown."""
        if self.most is None:
            return ""
        return "GROWS" if self.last - self.first > self.most else "flat"


@click.command()
@click.option("--batches", type=click.IntRange(2 * SAMPLES), default=10_000_000, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write all samples to this file.")
def soak(batches: int, file: Path | None) -> None:
    """Take millions of 2 KB batches from one daemon; exit with 1 when anything grows.

    Epochs end a hundred times, and a second client joins and leaves two hundred times. Memory, slots, descriptors and
    threads of all processes are compared between the first tenth after a warm-up of a tenth, and the last tenth.
    """
    where = host()
    click.echo("  ".join(f"{key} {value}" for key, value in where.items()))
    length = batches // EPOCHS
    flags = ("--workers", "1", "--max-queue-size", str(SMALL.queue))
    with (
        started("benchmarks.soak:Numbered", *flags, length=length) as (endpoint, pid),
        Client(endpoint, prefetch=SMALL.prefetch, connect_timeout=60, batch_timeout=60) as client,
    ):
        series = sampled(client, pid, checked(client, length), batches, lambda: _visit(endpoint))
    found = growths(series)
    click.echo(f"\n{table(found)}\n\n{batches} batches in epochs of {length}; {SAMPLES} samples, medians of tenths")
    if file is not None:
        told = {"host": where, "batches": batches, "length": length, "growth": [asdict(one) for one in found]}
        file.write_text(json.dumps({**told, "series": series}) + "\n")
    if any(one.verdict == "GROWS" for one in found):
        raise Failed("something grows: see above")


def checked(client: Client, length: int) -> Iterator[None]:
    """Take batch after batch, and look at each."""
    check = Check()
    while True:
        expected = 0
        for batch in client:
            check.look(batch, expected)
            expected += 1
            yield
        if expected != length:
            raise Failed(f"an epoch of {length} batches has ended after {expected}")


def _visit(endpoint: str) -> None:
    check = Check()
    with Client(endpoint, connect_timeout=60, batch_timeout=60) as visitor:
        for index, batch in enumerate(visitor.steps(VISIT)):
            check.look(batch, index)


def sampled(
    client: Client, pid: int, batches: Iterator[None], count: int, visit: Callable[[], None]
) -> dict[str, list[float]]:
    """Take so many batches; all figures at each of the `SAMPLES`. They lie in arrays that do not grow meanwhile."""
    figures: dict[str, Any] = {}
    every, before, began = count // SAMPLES, client.stats(), time.perf_counter()
    for row in range(SAMPLES):
        for _ in range(every):
            next(batches)
        took, now = time.perf_counter() - began, client.stats()
        cost = {
            "batches/s": every / took,
            "daemon's CPU, us per batch": (now["cpu_s"] - before["cpu_s"]) / every * 1e6,
            "messages per batch": (now["messages"] - before["messages"]) / every,
        }
        for name, value in {**cost, **_held(now, pid)}.items():
            figures.setdefault(name, np.full(SAMPLES, np.nan))[row] = value
        visit()
        before, began = client.stats(), time.perf_counter()
    return {name: values.tolist() for name, values in figures.items()}


def _held(now: dict[str, Any], pid: int) -> dict[str, float]:
    """What each process holds at this moment."""
    (stream,) = now["streams"]
    workers = [worker["pid"] for worker in stream["workers"]]
    zygotes = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    parts = {"daemon": [pid], "zygotes": zygotes, "workers": workers, "client": [os.getpid()]}
    found = {"slots, MB": stream["slot_bytes"] / 1e6}
    for part, pids in parts.items():
        kinds = [resident(one) for one in pids]
        found[f"{part}: memory, MB"] = sum(kind["RssAnon"] + kind["RssFile"] for kind in kinds) / 1e6
        found[f"{part}: slots mapped, MB"] = sum(kind["RssShmem"] for kind in kinds) / 1e6
        found[f"{part}: descriptors"] = sum(map(_descriptors, pids))
        found[f"{part}: threads"] = sum(len(os.listdir(f"/proc/{one}/task")) for one in pids)
    return found


def _descriptors(pid: int) -> int:
    """How many are open besides those of segments, of which there are as many as the slots need."""
    found = 0
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile, as that of this listing is
            found += not str(one.readlink()).startswith("/memfd:")
    return found


def growths(series: dict[str, list[float]]) -> list[Growth]:
    """Every figure in the second tenth of the samples and in the last."""
    found = []
    for name, values in series.items():
        tenth = len(values) // 10
        first, last = (float(np.median(part)) for part in (values[tenth : 2 * tenth], values[-tenth:]))
        most = None if "batch" in name else MOST_MB if name.endswith("MB") else 0.0
        found.append(Growth(name, first, last, most))
    return found


def table(found: list[Growth]) -> str:
    """A row for each figure."""
    rows = [["", "at first", "at last", "growth", ""]]
    for one in found:
        digits = 0 if one.most == 0 or one.name == "batches/s" else 2
        values = (one.first, one.last, one.last - one.first)
        rows.append([one.name, *(number(value, 1, digits) for value in values), one.verdict])
    return aligned(rows)
