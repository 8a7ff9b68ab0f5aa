"""The classic input reader in three stages: file names, records, batches.

::

    python examples/queue_runner.py make FOLDER      handwritten digits as text files, a hundred in each
    python examples/queue_runner.py read FOLDER      read them with three QueueRunners and a Coordinator
    python examples/queue_runner.py ship FOLDER      the same in another process, which is sent nothing but names

One thread enqueues the names of the files; three read them and enqueue records; one dequeues records and enqueues
batches. When the names are at their end, their queue is closed, which ends the threads that read, which closes the next
queue, and so on to the loop that takes the batches. Spoil a line of one file: the error that names it stops all threads
and is what `join` raises.

A program written for `tf.train` differs in its import, and in that its operations are functions. For work that keeps
the interpreter busy, take an enqueuer with processes or a daemon: these threads share one core.
Needs ``pip install "enqueued[demo]"``.
"""
# ruff: noqa: T201 - a program that shows something prints it

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import enqueued
from enqueued.errors import OutOfRangeError

PER_FILE = 100
BATCH_SIZE = 64


class Reader:
    """The three queues, and the operations that fill them; each is run again and again by its threads.

    With `place`, the "module:attribute" where any process finds this reader, its parts are named by where they are.
    """

    def __init__(self, folder: Path, place: str = "") -> None:
        self.place = place
        self.paths = iter(sorted(folder.glob("*.csv")))
        self.names = enqueued.Queue(8, self.name("names"))
        self.records = enqueued.Queue(4 * BATCH_SIZE, self.name("records"))
        self.batches = enqueued.Queue(4, self.name("batches"))

    def name(self, part: str) -> str:
        """What a part is called."""
        return f"{self.place}.{part}" if self.place else part

    def next_name(self) -> None:
        """One thread: the name of one file more."""
        path = next(self.paths, None)
        if path is None:
            raise OutOfRangeError(None, None, "no more files")
        self.names.enqueue(path)

    def read_file(self) -> None:
        """Some threads: all records of one file."""
        path = self.names.dequeue()
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                label, *pixels = map(int, line.split(","))
                image = np.array(pixels, np.float32).reshape(8, 8) / 16
            except ValueError as error:
                raise ValueError(f"{path.name}, line {number}: {error}") from error
            self.records.enqueue((image, label))

    def make_batch(self) -> None:
        """One thread: one batch; the last one may be smaller."""
        rows = []
        try:
            while len(rows) < BATCH_SIZE:
                rows.append(self.records.dequeue())
        except OutOfRangeError:
            if not rows:
                raise
        images, labels = zip(*rows, strict=True)
        self.batches.enqueue((np.stack(images), np.array(labels)))

    def runners(self) -> list[enqueued.QueueRunner]:
        """A runner for each queue, in the order of the stages."""
        stages = [(self.names, "next_name", 1), (self.records, "read_file", 3), (self.batches, "make_batch", 1)]
        return [
            enqueued.QueueRunner(queue, [self.name(op) if self.place else getattr(self, op)] * threads)
            for queue, op, threads in stages
        ]


def consume(runners: list[enqueued.QueueRunner]) -> int:
    """Runs all stages and counts what comes out of the last; an exit code."""
    coord, seen, batches = enqueued.Coordinator(), Counter[int](), 0
    for runner in runners:
        runner.create_threads(coord=coord, daemon=True, start=True)
    with coord.stop_on_exception():  # OutOfRangeError, the end, is no error to a coordinator
        while True:
            _, labels = runners[-1].queue.dequeue()
            seen.update(labels.tolist())
            batches += 1
    try:
        coord.join(stop_grace_period_secs=10)
    except ValueError as error:
        print(f"after {seen.total()} records: {error}", file=sys.stderr)
        return 1
    print(f"{seen.total()} records in {batches} batches: {dict(sorted(seen.items()))}")
    print(f"{threading.active_count()} thread is left, process {os.getpid()}")
    return 0


def make(folder: Path) -> int:
    """Writes the digits of scikit-learn as lines of numbers: the label, then 64 pixels of 0 to 16."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = load_digits(return_X_y=True)
    lines = [",".join(map(str, [label, *pixels])) for label, pixels in zip(labels, images.astype(int), strict=True)]
    for first in range(0, len(lines), PER_FILE):
        (folder / f"{first // PER_FILE:02}.csv").write_text("\n".join(lines[first : first + PER_FILE]) + "\n")
    print(f"{len(lines)} records in {-(-len(lines) // PER_FILE)} files")
    return 0


def ship(folder: Path) -> int:
    """Sends the definitions to another process, which builds a reader of its own from the names in them."""
    definitions = [runner.to_proto() for runner in Reader(folder, "queue_runner:shipped").runners()]
    messages = [definition.SerializeToString() for definition in definitions if definition is not None]
    print(f"process {os.getpid()} sends {sum(map(len, messages))} bytes", flush=True)
    return subprocess.run(
        [sys.executable, __file__, "receive", str(folder)],
        input="\n".join(message.hex() for message in messages),
        env={**os.environ, "DIGITS": str(folder)},  # where `shipped` reads, in the process that imports it
        text=True,
        check=False,
    ).returncode


def receive() -> int:
    """Runs the definitions that come, a line each."""
    definitions = [enqueued.QueueRunnerDef.FromString(bytes.fromhex(line)) for line in sys.stdin]
    return consume([enqueued.QueueRunner.from_proto(definition) for definition in definitions])


def main() -> int:
    """Does one of the four."""
    parser = argparse.ArgumentParser(description="Read files in three stages.")
    parser.add_argument("what", choices=["make", "read", "ship", "receive"])
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    if chosen.what == "make":
        return make(chosen.folder)
    if chosen.what == "read":
        return consume(Reader(chosen.folder).runners())
    return ship(chosen.folder) if chosen.what == "ship" else receive()


shipped = Reader(Path(os.environ.get("DIGITS", "digits")), "queue_runner:shipped")

if __name__ == "__main__":
    sys.exit(main())
