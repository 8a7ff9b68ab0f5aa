"""What an enqueuer and whoever makes its batches agree on."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Any, Protocol

from enqueued.source.failure import user_traceback
from enqueued.source.seeding import mix

_starts = itertools.count()


class Ended(Exception):
    """There is no next batch: the input is at its end, or the runner was stopped, or its error was raised before."""


class WorkerTraceback(Exception):
    """The traceback of what a worker's code raised, as text: the `__cause__` of the exception that `take` raises."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def with_cause(error: BaseException) -> BaseException:
    """The same error, with its traceback as its cause unless the user gave it one."""
    if error.__cause__ is None:
        error.__cause__ = WorkerTraceback(user_traceback(error))
    return error


class Runner(Protocol):
    """Makes the batches of one run, from an enqueuer's start to its stop.

    What `start` costs is paid in the background: making a runner returns at once, and an error of the user's code is
    kept for `take`. A runner knows nothing of the enqueuer, so that one that is forgotten can be collected.

    They are made by `ordered(sequence, setup)` and `streamed(iterator, setup, …)` of threads, processes and caller.
    """

    @property
    def running(self) -> bool:
        """Whether `take` may still give a batch: until it has raised an error or `Ended`, or `stop` was called."""

    def take(self) -> Any:
        """The next batch in order; waits for it. Several threads may call it.

        What the user's code raised comes with its own type, at its place in the order, once, with a `__cause__`; from
        then on, as after the last batch and after `stop`, it raises `Ended`.
        """

    def stop(self, timeout: float | None) -> None:
        """End; a `take` that waits raises `Ended`. Can be repeated, and called from any thread and signal handler.

        Waits up to `timeout` seconds, without limit if None, until no thread or process of the run is left.
        """

    def join_end_of_epoch(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for an end of an epoch that was not waited for; no error if there is none.

        An epoch ends when its last batch is taken and, where the sequence has it, `on_epoch_end` has run.
        """


@dataclass(frozen=True)
class Setup:
    """What `start` decided for one run, alike for threads, processes and the caller's own thread."""

    workers: int
    look_ahead: int | None
    """So many batches may be made (or being made) and not taken; None: no bound on their number."""
    seed: int
    """63 bits from which the randomness of each batch follows."""
    order_seed: int | None = None
    """With `shuffle`: the seed of the epochs' orders, see `enqueued.source.permutation`."""

    @classmethod
    def of(cls, workers: int, max_queue_size: int, shuffle: bool = False) -> Setup:
        """Checks the arguments of `start` and draws the seeds from the global `random`.

        Only shuffling changes the state of `random`. Each start has seeds of its own, the same ones when the program
        runs again from the same `random.seed`.
        """
        if workers < 0:
            raise ValueError(
                f"workers is {workers}; it must be at least 0 (0: batches are made in the caller's thread)"
            )
        order_seed = random.getrandbits(63) if shuffle else None
        copy = random.Random()
        copy.setstate(random.getstate())
        seed = mix(copy.getrandbits(63), next(_starts), 0) >> 1
        return cls(workers, max_queue_size + 1 if max_queue_size > 0 else None, seed, order_seed)
