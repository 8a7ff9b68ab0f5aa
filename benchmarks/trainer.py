"""One trainer of several: ``python -m benchmarks.trainer SYSTEM SECONDS JSON`` takes batches and copies each out.

It says ``ready`` when the first batches have come, waits for a line on standard input, so that all begin together, and
prints how many batches came in how many seconds.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import click
import numpy as np

WARM_UP = 3
"""Batches."""


def client(stack: ExitStack, endpoint: str) -> Iterator[Any]:
    """Batches of a daemon, as a group of this trainer's own."""
    from enqueued import Client

    opened = stack.enter_context(Client(endpoint, batch_timeout=60))
    return (batch.data for batch in opened.batches())


def loader(stack: ExitStack, source: str, arguments: dict[str, Any], workers: int) -> Iterator[Any]:
    """Batches of a DataLoader of this trainer's own, which keeps its workers between epochs."""
    data = importlib.import_module("torch.utils.data")
    module, _, name = source.partition(":")
    dataset = getattr(importlib.import_module(module), name)(**arguments)
    loaded = data.DataLoader(
        dataset, batch_size=None, sampler=range(len(dataset)), num_workers=workers, persistent_workers=True
    )

    def epochs() -> Iterator[Any]:
        while True:
            yield from loaded

    return epochs()


def main(system: str, seconds: float, arguments: dict[str, Any]) -> None:
    """Take batches for so long."""
    with ExitStack() as stack:
        batches = (client if system == "client" else loader)(stack, **arguments)
        buffers = [np.asarray(array).copy() for array in next(batches)]

        def take() -> None:
            for buffer, array in zip(buffers, next(batches), strict=True):
                np.copyto(buffer, np.asarray(array))

        for _ in range(WARM_UP):
            take()
        click.echo("ready")
        sys.stdin.readline()
        count, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            take()
            count += 1
        click.echo(json.dumps({"batches": count, "seconds": took}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3]))
