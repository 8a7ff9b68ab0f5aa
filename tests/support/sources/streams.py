"""Streamed sources of less common kinds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from enqueued.source.seeding import get_worker_info

table = [7, 8]


def opened() -> list[int]:
    """A factory that gives an iterable, not an iterator."""
    return [5, 6]


class Counted:
    """Its own iterator, which knows the how manieth of its class it is."""

    count = 0

    def __init__(self) -> None:
        Counted.count += 1
        self.made = Counted.count
        self.left = 1

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.made


class Unopenable:
    """Raises in `__iter__`."""

    def __iter__(self) -> Iterator[int]:
        raise OSError("closed")


def sharded(size: int = 4) -> Iterator[tuple[int, int]]:
    """Gives each replica its share, with the position that it is asked for."""
    info = get_worker_info()
    assert info is not None
    for number in range(info.replica, size, info.replicas):
        now = get_worker_info()
        assert now is not None
        yield number, now.index


def guarded() -> Iterator[list[str]]:
    """Cleans up after itself."""
    log = ["open"]
    try:
        while True:
            yield log
    finally:
        log.append("closed")


def stubborn() -> Iterator[int]:
    """Raises when it is closed."""
    try:
        yield 0
    finally:
        raise ValueError("no")


def _with_three(function: Callable[..., Iterator[int]]) -> Callable[..., Iterator[int]]:
    @functools.wraps(function)
    def inner(**options: Any) -> Iterator[int]:
        return function(number=3, **options)

    return inner


@_with_three
def wrapped(number: int) -> Iterator[int]:
    """Gets its argument from a wrapper."""
    yield number
