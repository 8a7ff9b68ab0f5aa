"""Sources that cannot be served, one for each way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any


class Sized:
    """A Sequence but for the length, which is what it is told to be."""

    def __init__(self, size: Any = 0) -> None:
        self.size = size

    def __len__(self) -> Any:
        return self.size

    def __getitem__(self, index: int) -> int:
        return index


class Unmeasurable(Sized):
    """Its length raises."""

    def __len__(self) -> int:
        raise OSError("no such disk")


class NoLength:
    """Has no `__len__`."""

    def __getitem__(self, index: int) -> int:
        return index


class NoIndex:
    """Has no `__getitem__`."""

    def __len__(self) -> int:
        return 3


class Raising(Sized):
    """Its constructor raises what it is told to."""

    def __init__(self, what: str = "ValueError") -> None:
        errors: dict[str, type[BaseException]] = {
            "ValueError": ValueError,
            "SystemExit": SystemExit,
            "KeyboardInterrupt": KeyboardInterrupt,
            "TypeError": TypeError,
        }
        raise errors[what]("no such folder: /data")


class Prickly(Sized):
    """Raises when it is asked for its hooks."""

    @property
    def on_epoch_end(self) -> Any:
        raise RuntimeError("do not look at me")


class Unspeakable(Sized):
    """Raises an error whose text raises."""

    def __init__(self) -> None:
        class Silent(Exception):
            def __str__(self) -> str:
                raise ValueError("no text")

        raise Silent


class FailingAt(Sized):
    """Raises in `__getitem__`."""

    def __getitem__(self, index: int) -> int:
        raise KeyError(index)


class FailingHooks(Sized):
    """Raises in both hooks."""

    def on_epoch_begin(self) -> None:
        raise ValueError("begin")

    def on_epoch_end(self) -> None:
        raise ValueError("end")


letters = {"a": 1}.keys()
text = "abc"
number = 7


def not_iterable() -> int:
    """A factory that gives nothing to iterate."""
    return 3


def failing_factory(path: str = "/data") -> Iterator[int]:
    """A factory that raises when it is called."""
    raise FileNotFoundError(path)


def failing_later() -> Iterator[int]:
    """A generator that raises at its second batch."""
    yield 0
    raise ValueError("second")


async def waiting() -> AsyncIterator[int]:
    """An asynchronous generator."""
    yield 0


def collate_nothing(samples: list[Any]) -> list[Any]:
    """A collate function that hands the samples on."""
    return ["mine", *samples]
