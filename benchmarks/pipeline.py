"""``python -m benchmarks pipeline``: what a user has, from a folder of JPEGs to a network that learns."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import click

from benchmarks.batches import Size
from benchmarks.comparison import Run, comparison
from benchmarks.photographs import BATCH, PHOTOS, SOURCE, filled
from benchmarks.program import program
from benchmarks.report import aligned, number, troubles
from benchmarks.results import RATE, Target, find, middle, ratio
from benchmarks.rounds import Measured
from benchmarks.systems import TRAINERS, System
from benchmarks.systems.daemon import started
from benchmarks.systems.trainers import READY

TRAINER = "benchmarks.training"
WORKERS = 2
FIRST, AGAIN, BEGUN, SAME = "first_s", "again_s", "begun_s", "same"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Of the network, which else takes from the workers what it does not need."""
LIMIT_S = 120.0
"""And three times the seconds of a measurement, for each trainer."""


@comparison(
    "--against",
    "Only this peer, or those whose name begins so",
    TRAINERS,
    always=("enqueued",),
    sizes={PHOTOS.name: PHOTOS},
    more=[
        click.option("--step", type=click.IntRange(1), default=200, show_default=True, help="Where it is killed."),
        click.option("--photos", type=click.IntRange(BATCH), default=200, show_default=True, help="JPEGs."),
    ],
)
def pipeline(run: Run, step: int, photos: int) -> None:
    """Measure training: steps a second, how long it waits for data, its first step, and to be started again.

    JPEGs are decoded, cropped and normalised (examples/photos.py) by two workers, and a small network learns from them
    in NumPy, on one thread. The first step counts from a program that has imported what it needs; of enqueued the
    daemon has to be started, too. A trainer that is started again in mid-epoch goes on after the step of its
    checkpoint: with enqueued from the state that was saved, with the others by making all batches before it again, as
    that is what they offer; and beside it, with a source that the user has written so that it begins there.
    """
    with tempfile.TemporaryDirectory(prefix="enq-photos-") as folder:
        filled(folder, photos)
        measured = run.measure(partial(table, step=step), partial(_once, folder=folder, step=step))
    run.conclude(measured, targets(measured, step))


def table(size: Size, measured: Sequence[Measured], step: int) -> str:
    """A row for each system, also for those that could not be measured."""
    base = find(measured, "enqueued", size.name)
    rates = ["steps/s", "lowest", "highest", "enqueued is"]
    rows = [["", *rates, "waits", "first step", f"again, after {step}", "begun there", "same batch"]]
    for entry in measured:
        results = [result for result in entry.rounds if result is not None]
        had, same = [result[RATE] for result in results], [result[SAME] for result in results]
        rows.append(
            [
                entry.system.title,
                number(middle(entry, RATE), 1, 1) if had else entry.trouble.split(":")[0],
                number(min(had, default=None), 1, 1),
                number(max(had, default=None), 1, 1),
                number(ratio(base, entry) if base else None, 1, 2, " x"),
                number(middle(entry, "waited_share"), 100, 0, " %"),
                *(number(middle(entry, key), 1, 2, " s") for key in (FIRST, AGAIN, BEGUN)),
                ("yes" if all(same) else "no") if same else "-",
            ]
        )
    head = f"{SOURCE}, batches of {BATCH} photographs, {WORKERS} workers"
    return "\n".join([head, "", aligned(rows), *troubles(measured)])


def targets(measured: Sequence[Measured], step: int) -> list[Target]:
    """As fast as a DataLoader of one's own; and to be started again takes no longer, the later it is."""
    one, other = find(measured, "enqueued", PHOTOS.name), find(measured, "torch", PHOTOS.name)
    found = [("steps/s: enqueued / torch", 0.9, ratio(one, other) if one and other else None)]
    found.append((f"again, after {step}: torch / enqueued", 20.0, ratio(other, one, AGAIN) if one and other else None))
    return [Target(what, least, None, "x", value) for what, least, value in found]


def _once(system: System, size: Size, seconds: float, *, folder: str, step: int) -> dict[str, Any]:
    """A new trainer, then one that is started again after `step`: from what was saved, or anew up to there."""
    ours = system.name == "enqueued"
    limit_s = 3 * seconds + LIMIT_S
    with tempfile.TemporaryDirectory(prefix="enq-bench-") as place, contextlib.ExitStack() as stack:
        told: dict[str, Any] = {"checkpoint": f"{place}/checkpoint.npz", "step": step, "skip": 0}
        made: dict[str, Any] = {"source": SOURCE, "arguments": {"folder": folder}, "workers": WORKERS}
        with program(TRAINER, system.name, limit_s=limit_s, **ONE_THREAD) as trainer:
            trainer.hear()
            began = time.perf_counter()
            if ours:
                flags = ["--workers", str(WORKERS), "--max-queue-size", str(READY * WORKERS)]
                made = {"endpoint": stack.enter_context(started(SOURCE, *flags, folder=folder))[0]}
            trainer.tell({**told, "feed": made, "seconds": seconds})
            trainer.hear()
            first_s = time.perf_counter() - began
            result: dict[str, Any] = trainer.hear()
        again_s, fed = _again(system, limit_s, {**told, "feed": made, "skip": 0 if ours else step})
        result |= {FIRST: first_s, AGAIN: again_s, SAME: fed == result.pop("sum")}
        if not ours:
            made["arguments"]["first"] = step
            result[BEGUN], _ = _again(system, limit_s, {**told, "feed": made})
        return result


def _again(system: System, limit_s: float, told: Mapping[str, Any]) -> tuple[float, int]:
    """How long a trainer that is started again takes to the end of its step, and a checksum of what it was fed."""
    with program(TRAINER, system.name, limit_s=limit_s, **ONE_THREAD) as trainer:
        trainer.hear()
        began = time.perf_counter()
        trainer.tell(told)
        fed: int = trainer.hear()["sum"]
        return time.perf_counter() - began, fed
