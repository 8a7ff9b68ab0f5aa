"""What a QueueRunner runs: its name, the object that a name stands for, and how a session runs it."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from enqueued.errors import LoadError


@dataclass(frozen=True, slots=True)
class Operation:
    """Something to call, under a name that it does not have by itself."""

    name: str
    call: Callable[[], object]

    def __call__(self) -> object:
        return self.call()


def name_of(op: Any) -> str:
    """`op.name`, else its `__name__`, else that of its type."""
    for candidate in (getattr(op, "name", None), getattr(op, "__name__", None)):
        if isinstance(candidate, str) and candidate:
            return candidate
    return type(op).__name__


def named(name: str, op: Any) -> Any:
    """`op` under this name; itself, when that is its own."""
    return op if name_of(op) == name else Operation(name, op)


def operation(given: Any) -> Any:
    """What a user gave as an operation: itself, or what a text "module:attribute" names. Raises LoadError."""
    if not isinstance(given, str):
        return given
    if not is_reference(given):
        raise LoadError(f'The operation "{given}" is a name, but not of the form "module:attribute"')
    return named(given, imported(given))


def is_reference(name: str) -> bool:
    """Whether this has the form "module:attribute", with dots in either."""
    module, colon, attributes = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), *attributes.split(".")])


def imported(reference: str) -> Any:
    """The object that "module:attribute" names; imports the module. Raises LoadError."""
    module, _, attributes = reference.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        raise LoadError(f'Cannot import "{reference}": {type(error).__name__}: {error}') from error
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise LoadError(f'Cannot import "{reference}": {error}') from error
    return found


def bound(sess: Any, op: Any) -> Callable[[], object]:
    """How `sess` runs `op`: by `make_callable` or `run`; without a session it is called."""
    if sess is None:
        return op  # type: ignore[no-any-return] # `check` has seen that it can be called
    if callable(getattr(sess, "make_callable", None)):
        return sess.make_callable(op)  # type: ignore[no-any-return] # its promise
    return functools.partial(sess.run, op)


def check(sess: Any, ops: list[Any]) -> None:
    """Raises TypeError unless `sess` can run all of `ops`: in a thread, it would be too late to say so."""
    if sess is None:
        for op in ops:
            if not callable(op):
                raise TypeError(
                    f"The operation {op!r} cannot be called. Give functions, or a session that runs such operations."
                )
    elif not callable(getattr(sess, "make_callable", None)) and not callable(getattr(sess, "run", None)):
        raise TypeError(
            f"The session {sess!r} has neither make_callable(op) nor run(op). To call the operations, give None."
        )
