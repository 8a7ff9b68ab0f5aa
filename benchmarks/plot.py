"""``python -m benchmarks plot FOLDER``: pictures of what the other commands have written there with ``--json``."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks.systems import IN_PROCESS, PEERS, REMOTE, SYSTEMS, TRAINERS

OURS, THEIRS = "#c2410c", "#94a3b8"
_WORDS = {"big": "9.6 MB", "mid": "1.6 MB", "small": "2 KB"}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), default=Path("docs/plots"), show_default=True)
def plot(folder: Path, to: Path) -> None:
    """Draw what other commands have written with --json, as PNG.

    These are transport.json, remote.json, inprocess.json, sharing.json, pipeline.json, scaling.json and soak.json;
    those that are there.
    """
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ModuleNotFoundError:
        raise click.ClickException('matplotlib is not installed: pip install "enqueued[bench]"') from None
    matplotlib.use("Agg")
    pictures = {
        "transport": _bars,
        "remote": _bars,
        "inprocess": _bars,
        "sharing": _sharing,
        "pipeline": _pipeline,
        "scaling": _scaling,
        "soak": _soak,
    }
    to.mkdir(parents=True, exist_ok=True)
    for name, draw in pictures.items():
        file = folder / f"{name}.json"
        if not file.exists():
            click.echo(f"{file}: not there, so it is not drawn", err=True)
            continue
        figure = draw(json.loads(file.read_text()))
        figure.savefig(to / f"{name}.png", dpi=110, bbox_inches="tight")
        click.echo(str(to / f"{name}.png"))


def _axes(count: int, height: float) -> tuple[Any, list[Any]]:
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(1, count, figsize=(4.2 * count, height), squeeze=False, layout="constrained")
    for one in axes[0]:
        one.spines[["top", "right"]].set_visible(False)
    return figure, list(axes[0])


def _bars(told: dict[str, Any]) -> Any:
    """A panel for each size, a bar for each system."""
    titles = {name: system.title for name, system in (SYSTEMS | IN_PROCESS | REMOTE).items()}
    rows = [row for row in told["measured"] if row["median"] and not row["system"].endswith("-epochs")]
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    most = max(sum(row["size"] == size for row in rows) for size in sizes)
    figure, axes = _axes(len(sizes), 0.4 * most + 1.0)
    for one, size in zip(axes, sizes, strict=True):
        shown = sorted((row for row in rows if row["size"] == size), key=lambda row: float(row["median"]))
        colors = [OURS if titles[row["system"]].startswith("enqueued") else THEIRS for row in shown]
        bars = one.barh([titles[row["system"]] for row in shown], [row["median"] for row in shown], color=colors)
        one.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=7)
        one.set_title(f"batches of {_WORDS[size]}, batches/s", fontsize=9)
        one.tick_params(labelsize=7)
        one.margins(x=0.18)
    return figure


def _sharing(told: dict[str, Any]) -> Any:
    """Batches a second of K trainers together."""
    figure, (one,) = _axes(1, 2.8)
    found = {int(trainers): rates for trainers, rates in told["trainers"].items()}
    one.plot(list(found), [median(rates["shared"]) for rates in found.values()], "o-", label="one daemon", color=OURS)
    peers = list(next(iter(found.values()))["private"])
    for peer, style in zip(peers, ("o-", "s--", "^:"), strict=False):
        middles = [median(rates["private"][peer]) for rates in found.values()]
        one.plot(list(found), middles, style, label=f"{PEERS[peer].title}, private", color=THEIRS)
    one.set_xticks(list(found))
    one.set_xlabel("trainers", fontsize=8)
    one.set_title(f"JPEGs, {told['workers']} workers in all: batches/s of all trainers", fontsize=9)
    one.set_ylim(bottom=0)
    one.legend(fontsize=8, frameon=False)
    return figure


def _pipeline(told: dict[str, Any]) -> Any:
    """Steps a second, and how long it takes until a trainer that was killed is there again."""
    rows = [row for row in told["measured"] if row["median"]]
    rows.sort(key=lambda row: float(row["median"]))
    titles = [TRAINERS[row["system"]].title for row in rows]
    colors = [OURS if row["system"] == "enqueued" else THEIRS for row in rows]
    figure, (steps, again) = _axes(2, 0.4 * len(rows) + 1.0)
    for one, key, words, unit in (
        (steps, "batches_per_s", "steps/s, two workers", "{:.1f}"),
        (again, "again_s", f"killed, and again after step {told['options']['step']}", "{:.2f} s"),
    ):
        middles = [median(done[key] for done in row["rounds"] if done) for row in rows]
        one.bar_label(one.barh(titles, middles, color=colors), fmt=unit, padding=3, fontsize=7)
        one.set_title(words, fontsize=9)
        one.tick_params(labelsize=7)
        one.margins(x=0.18)
    return figure


def _scaling(told: dict[str, Any]) -> Any:
    """The daemon's CPU for a batch, over what grows."""
    figure, axes = _axes(len(told["series"]), 2.8)
    for one, (name, points) in zip(axes, told["series"].items(), strict=True):
        one.plot([point["at"] for point in points], [point["daemon_us"] for point in points], "o-", color=OURS)
        one.set_xscale("log")
        one.set_ylim(bottom=0)
        one.set_xlabel(name, fontsize=8)
        one.set_title("daemon's CPU, us per batch", fontsize=9)
        twin = one.twinx()
        twin.plot([point["at"] for point in points], [point["daemon_mb"] for point in points], "s--", color=THEIRS)
        twin.set_ylim(bottom=0)
        twin.set_ylabel("memory besides slots, MB", fontsize=7)
        twin.spines[["top"]].set_visible(False)
    return figure


def _soak(told: dict[str, Any]) -> Any:
    """Memory and descriptors of each process, and the daemon's CPU for a batch, over millions of batches."""
    series = told["series"]
    figure, axes = _axes(3, 2.8)
    titles = {": memory, MB": "memory besides slots, MB", ": descriptors": "descriptors"}
    for one, (end, title) in zip(axes, titles.items(), strict=False):
        for name, values in series.items():
            if name.endswith(end):
                one.plot(_over(told, values), values, label=name.removesuffix(end))
        one.set_title(title, fontsize=9)
        one.legend(fontsize=7, frameon=False)
    cost = series["daemon's CPU, us per batch"]
    axes[2].plot(_over(told, cost), cost, color=OURS)
    axes[2].set_title("daemon's CPU, us per batch", fontsize=9)
    for one in axes:
        one.set_ylim(bottom=0)
        one.set_xlabel("millions of batches", fontsize=8)
    return figure


def _over(told: dict[str, Any], values: list[float]) -> list[float]:
    """How many million batches had been taken at each sample."""
    return [told["batches"] * (number + 1) / len(values) / 1e6 for number in range(len(values))]
