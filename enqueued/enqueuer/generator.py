"""The enqueuer of iterators."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from enqueued.enqueuer import caller, threads
from enqueued.enqueuer.courses import Resumable
from enqueued.enqueuer.enqueuer import SequenceEnqueuer
from enqueued.enqueuer.runners import Runner, Setup

_MISSING = object()


class GeneratorEnqueuer(SequenceEnqueuer):
    """Gives what an iterator gives, made ahead; `sequence` and `generator` are two names of the first argument.

    Threads all call the one iterator; it must be thread-safe where there are several, and a plain generator is not.
    In processes each worker has a copy of the iterator, so that N workers give N streams, interleaved; a generator
    that asks `enqueued.get_worker_info()` can give each worker its own part. With `random_seed` worker k is seeded
    with ``random_seed + k`` (`random` and NumPy), without it the workers' seeds differ. `wait_time` has no effect.
    """

    def __init__(
        self,
        sequence: Any = _MISSING,
        use_multiprocessing: bool = False,
        wait_time: float | None = None,
        random_seed: int | None = None,
        *,
        generator: Any = _MISSING,
    ) -> None:
        if (sequence is _MISSING) == (generator is _MISSING):
            raise TypeError("GeneratorEnqueuer takes one iterator, by the name `sequence` or `generator`")
        iterator = generator if sequence is _MISSING else sequence
        _check(iterator)
        if wait_time is not None:
            warnings.warn("`wait_time` is not used any more: nobody polls", DeprecationWarning, stacklevel=2)
        super().__init__(iterator, use_multiprocessing)
        self.random_seed = random_seed
        self._resumable = Resumable(iterator)
        self._warned = False

    def start(self, workers: int = 1, max_queue_size: int = 10) -> None:
        """See `SequenceEnqueuer.start`; after `stop` it goes on where it was.

        What threads had made and nobody had taken comes first then. Processes begin with copies of the iterator as it
        is in this program, where they have not moved it.
        """
        if self.use_multiprocessing and workers > 1 and not self._warned:
            self._warned = True
            warnings.warn(
                f"each of {workers} worker processes has its own copy of the iterator, so each batch may come "
                f"{workers} times; a generator can give each worker its part by enqueued.get_worker_info()",
                UserWarning,
                stacklevel=2,
            )
        super().start(workers, max_queue_size)

    def _run(self, setup: Setup) -> Runner:
        if not setup.workers:
            return caller.streamed(self._resumable, setup)
        if not self.use_multiprocessing:
            return threads.streamed(self._resumable, setup)
        from enqueued.enqueuer import processes  # threads do without all that it needs

        return processes.streamed(self.sequence, setup, self.random_seed)


def _check(iterator: Any) -> None:
    if hasattr(type(iterator), "__next__"):
        return
    name = getattr(iterator, "__qualname__", type(iterator).__name__)
    if inspect.isgeneratorfunction(iterator):
        raise TypeError(f"{name} is a generator function; pass what it returns: GeneratorEnqueuer({name}(...))")
    if hasattr(type(iterator), "__getitem__") and hasattr(type(iterator), "__len__"):
        raise TypeError(f"{name} has a length and can be indexed; pass it to OrderedEnqueuer, or pass iter(...) of it")
    raise TypeError(f"GeneratorEnqueuer takes an iterator, and {name} has no __next__; pass iter(...) of it")
