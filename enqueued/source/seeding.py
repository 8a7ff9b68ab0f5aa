"""Randomness as a function of the position: every global generator, and `rng`, follow from (seed, epoch, index).

The order of the calls does not matter, nor who makes them: 1, 2 or 5 workers draw the same numbers for the same batch.
"""

from __future__ import annotations

import random
import sys
import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_MASK = 0xFFFFFFFFFFFFFFFF
_GAMMA = 0x9E3779B97F4A7C15
_seed_random = random.seed

# Indices below zero are no batch: they seed what runs between batches.
OPENING = -1
"""The index while an epoch begins: the constructor, `on_epoch_begin`, a generator factory."""
ENDING = -2
"""The index while an epoch ends: `on_epoch_end`."""


@dataclass(frozen=True)
class WorkerInfo:
    """Who is running: worker `id` of `num_workers`, and which of the `replicas` of a streamed source it is.

    `epoch` and `index` are the position that is being made; `index` is -1 while an epoch is opened.
    """

    id: int
    num_workers: int
    replica: int = 0
    replicas: int = 1
    seed: int = 0
    epoch: int = 0
    index: int = OPENING


class _Here(threading.local):
    """What this thread is doing; each worker of a thread pool has its own."""

    info: WorkerInfo | None = None
    position: tuple[int, int, int] | None = None
    drawn: tuple[tuple[int, int, int], np.random.Generator] | None = None


_here = _Here()
_process: WorkerInfo | None = None


def finalize(state: int) -> int:
    """Scrambles 64 bits into 64 bits, one to one: the output function of splitmix64 (Steele, Lea, Flood 2014)."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


@lru_cache(maxsize=64)
def epoch_key(seed: int, epoch: int) -> int:
    """A 64-bit key of one epoch; `seed` is taken modulo 2**64."""
    return finalize((finalize((seed + _GAMMA) & _MASK) + (epoch + 1) * _GAMMA) & _MASK)


def mix(seed: int, epoch: int, index: int) -> int:
    """A 64-bit number for one position; within an epoch no two indices share one."""
    return finalize((epoch_key(seed, epoch) + (index + 1) * _GAMMA) & _MASK)


def seed_generators(seed: int, epoch: int, index: int) -> None:
    """Seeds the process-wide generators of random, and of NumPy and torch if they are loaded, for one position.

    CUDA's generators are not touched. Not for the threads of a thread pool: they share these generators.
    """
    key = mix(seed, epoch, index)
    _seed_random(key)
    modules = sys.modules
    numpy_random = modules.get("numpy.random")
    if numpy_random is not None:
        _seed_numpy(numpy_random, key)
    torch = modules.get("torch")
    if torch is not None:
        _seed_torch(torch, key)


def seed_torch(seed: int, epoch: int, index: int) -> None:
    """Seeds torch's generator alone, if torch is loaded."""
    torch = sys.modules.get("torch")
    if torch is not None:
        _seed_torch(torch, mix(seed, epoch, index))


def _seed_torch(torch: Any, key: int) -> None:
    generator = getattr(torch, "default_generator", None)  # missing while torch itself is being imported
    if generator is not None:
        generator.manual_seed(key)  # torch.manual_seed costs 94 us, this 1


def _seed_numpy(numpy_random: Any, key: int) -> None:
    try:
        numpy_random.seed(key >> 32)
    except TypeError:  # the user put another bit generator in with np.random.set_bit_generator
        numpy_random.set_bit_generator(type(numpy_random.get_bit_generator())(key))
    except AttributeError:  # numpy.random is still being imported, by another thread
        pass


def enter(info: WorkerInfo, *, whole_process: bool = True) -> None:
    """Says who this thread is; `whole_process` says it for threads that the user's code starts too."""
    global _process
    _here.info = info
    _process = info if whole_process else None


def leave() -> None:
    """Forgets what `enter` and `at` said."""
    global _process
    _here.info = _here.position = _here.drawn = None
    _process = None


def at(seed: int, epoch: int, index: int) -> None:
    """Says which position this thread makes from now on."""
    _here.position = (seed, epoch, index)


def rng() -> np.random.Generator:
    """The random generator of the batch that is being made: the same numbers in every worker, process or thread.

    Made at the first call in a position, the same object until the next. Raises RuntimeError outside a worker.
    """
    position = _here.position
    if position is None:
        if _process is not None:
            raise RuntimeError(
                "enqueued.rng() belongs to the thread that makes the batch; call it there and hand "
                "rng().spawn(n) to the threads that you start"
            )
        raise RuntimeError(
            "enqueued.rng() works only inside a worker, while a batch is made; "
            "elsewhere use numpy.random.default_rng(seed)"
        )
    drawn = _here.drawn
    if drawn is not None and drawn[0] is position:
        return drawn[1]
    from numpy.random import PCG64, Generator

    generator = Generator(PCG64(mix(*position)))
    _here.drawn = (position, generator)
    return generator


def get_worker_info() -> WorkerInfo | None:
    """Who is running and what it makes, or None outside a worker."""
    info = _here.info or _process
    position = _here.position
    if info is None or position is None:
        return info
    seed, epoch, index = position
    return replace(info, seed=seed, epoch=epoch, index=index)
