"""Results as plain tables, and as plain data for JSON."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.batches import Size
from benchmarks.results import RATE, Target, find, middle, ratio
from benchmarks.rounds import Measured

PACKAGES = ("enqueued", "numpy", "pyzmq", "torch", "keras", "tensorflow", "tensorpack")


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns: the first flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def size_table(size: Size, measured: Sequence[Measured]) -> str:
    """One size: a row for each system, also for those that could not be measured."""
    base = find(measured, "enqueued", size.name)
    head = f"{size.name}: {size.words}\nenqueued: 1 worker, --max-queue-size {size.queue}, prefetch {size.prefetch}, "
    rows = [
        [
            "",
            "batches/s",
            "GB/s",
            "lowest",
            "highest",
            "enqueued is",
            "client CPU",
            "daemon CPU",
            "worker CPU",
            "memory",
        ]
    ]
    entries = [entry for entry in measured if entry.size is size]
    rows += [
        rate_row(
            entry,
            number(ratio(base, entry) if base else None, 1, 2, " x"),
            number(middle(entry, "client_cpu_us"), 1, 1, " us"),
            number(middle(entry, "daemon_cpu_us"), 1, 1, " us"),
            number(middle(entry, "worker_cpu_us"), 1, 1, " us"),
            number(middle(entry, "daemon_rss_bytes"), 1e-6, 0, " MB"),
        )
        for entry in entries
    ]
    return "\n".join([head + "seeding per position", "", aligned(rows), *troubles(entries)])


def rate_row(entry: Measured, *others: str) -> list[str]:
    """The row of a system: its name and its rates (batches, GB, lowest, highest), or its trouble; then the others."""
    rates = [result[RATE] for result in entry.rounds if result is not None]
    return [
        entry.system.title,
        number(middle(entry, RATE)) if rates else entry.trouble.split(":")[0],
        number(middle(entry, "bytes_per_s"), 1e-9, 2),
        number(min(rates, default=None)),
        number(max(rates, default=None)),
        *others,
    ]


def troubles(entries: Sequence[Measured]) -> list[str]:
    """A line for each system that could not be measured, or not in every round."""
    return [f"{entry.system.name}: {entry.trouble}" for entry in entries if entry.trouble]


def target_table(targets: Sequence[Target]) -> str:
    """What must be reached, what was measured, and whether it is enough."""
    rows = [["target", "must be", "measured", ""]]
    for target in targets:
        bound = f">= {target.least:g}" if target.least is not None else f"<= {target.most:g}"
        digits = 2 if target.unit == "x" else 1
        value = number(target.value, 1, digits, f" {target.unit}")
        rows.append([target.what, f"{bound} {target.unit}", value, target.verdict])
    return aligned(rows)


def number(value: float | None, scale: float = 1, digits: int = 0, unit: str = "") -> str:
    """A figure as text, or a dash where there is none."""
    return "-" if value is None else f"{value * scale:,.{digits}f}{unit}".replace(",", " ")


def plain(
    measured: Sequence[Measured], targets: Sequence[Target], options: dict[str, Any], where: dict[str, Any]
) -> dict[str, Any]:
    """Everything, with each round's figures."""
    return {
        "host": where,
        "options": options,
        "measured": [
            {
                "system": entry.system.name,
                "size": entry.size.name,
                "bytes": entry.size.nbytes,
                "max_queue_size": entry.size.queue,
                "prefetch": entry.size.prefetch,
                "median": middle(entry, RATE),
                "trouble": entry.trouble,
                "rounds": entry.rounds,
            }
            for entry in measured
        ],
        "targets": [
            {"what": each.what, "least": each.least, "most": each.most, "unit": each.unit, "value": each.value,
             "verdict": each.verdict}
            for each in targets
        ],
    }  # fmt: skip


def host() -> dict[str, Any]:
    """Where and with what it was measured."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": _commit(),
        **{name: _version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # no git
        return ""


def _version(name: str) -> str:
    for told in (name, f"{name}-cpu"):  # tensorflow has one for machines without a GPU
        with suppress(PackageNotFoundError):
            return version(told)
    return "not installed"
