from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from enqueued.source.hooks import hook
from enqueued.source.indexed import IndexedSource
from enqueued.source.load import build
from enqueued.source.spec import SourceSpec
from sources.keras_like import Beginning, NewStyle, OldStyle, PyDataset, Sequence


class Passing:
    def on_epoch_end(self) -> None:
        pass


class PassingOften:
    def on_epoch_end(self, *args: Any) -> None:
        """With a docstring."""


class Dotted:
    def on_epoch_end(self) -> None: ...


class ReturningNone:
    def on_epoch_end(self) -> None:
        """Returns."""
        return None  # noqa: RET501 - one of the ways of doing nothing


class Annotated:
    def on_epoch_end(self, epoch: int = 3, logs: dict[str, Any] | None = None) -> None:
        "Does nothing."


class Inheriting(Passing):
    pass


class Working:
    def on_epoch_end(self) -> None:
        self.done = True


class CallingSuper(Passing):
    def on_epoch_end(self) -> None:
        super().on_epoch_end()


class Undoing(Working):
    def on_epoch_end(self) -> None:
        """Switches the base class's work off."""


def _decorate(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any) -> None:
        pass

    return inner


class Wrapped:
    @_decorate
    def on_epoch_end(self) -> None:
        pass


class Borrowing:
    def __init__(self) -> None:
        self.on_epoch_end = Passing().on_epoch_end


class Native:
    on_epoch_end = staticmethod(print)


class Waiting:
    async def on_epoch_end(self) -> None:
        pass


class Yielding:
    def on_epoch_end(self) -> Any:
        yield


class Delegating:
    def __init__(self) -> None:
        self.inner = Working()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Unset:
    on_epoch_end = None


class Plain:
    pass


@pytest.mark.parametrize(
    "kind",
    [
        Passing,
        PassingOften,
        Dotted,
        ReturningNone,
        Annotated,
        Inheriting,
        Undoing,
        Unset,
        Plain,
        Sequence,
        PyDataset,
        OldStyle,
        NewStyle,
    ],
)
def test_an_empty_hook_does_not_count(kind: type[Any]) -> None:
    """However nothing is written, also in the Keras base classes."""
    assert hook(kind(), "on_epoch_end") is None


@pytest.mark.parametrize("kind", [Working, CallingSuper, Wrapped, Borrowing, Native, Waiting, Yielding, Delegating])
def test_a_hook_that_may_do_something_counts(kind: type[Any]) -> None:
    """Whatever cannot be seen to be empty is run."""
    assert hook(kind(), "on_epoch_end") is not None


@pytest.mark.parametrize(
    ("target", "has"),
    [
        ("keras_like:NewStyle", False),
        ("keras_like:OldStyle", False),
        ("keras_like:Beginning", True),
        ("good:Numbers", False),
        ("good:Shuffling", True),
    ],
)
def test_either_hook_makes_epochs_different(target: str, has: bool) -> None:
    """on_epoch_begin as well as on_epoch_end."""
    source = build(SourceSpec("sequence", f"sources.{target}"))
    assert isinstance(source, IndexedSource)
    assert source.has_epoch_hook is has


def test_a_hook_is_called_on_the_source() -> None:
    """What is found is bound to the object."""
    source = Beginning()
    found = hook(source, "on_epoch_begin")
    assert found is not None
    found()
    assert source.begun == 1
