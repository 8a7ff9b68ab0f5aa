"""From the names in a QueueRunnerDef to the objects, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from enqueued.enqueuer.definition import QueueRunnerDef
from enqueued.enqueuer.operation import imported, is_reference, named
from enqueued.errors import (
    LoadError,
    ProtocolError,
    error_code_from_exception_type,
    exception_type_from_error_code,
)

Resolver = Callable[[str], Any]
"""The object of a name; None, or a LookupError, when it does not know it."""

CLOSE, CANCEL = "_Close", "_Close_1"  # what TensorFlow calls the two operations of a queue


class Parts(NamedTuple):
    """What a definition names; `queue_name` is what it calls the queue, whatever that calls itself."""

    queue_name: str
    queue: Any
    enqueue_ops: list[Any]
    close_op: Any | None
    cancel_op: Any | None
    types: tuple[type[BaseException], ...] | None


def resolve(definition: Any, scope: str | None, resolver: Resolver | None) -> Parts:
    """The objects that a definition names, each looked for with `scope` before its name.

    `resolver` is asked first; then "module:attribute" is imported. The operations that close the queue need not be
    found if they have the names that they always have.

    Raises TypeError: that is no definition; ProtocolError: it has a code that stands for no error; LoadError: nobody
    knows a name.
    """
    read = _definition(definition)

    def find(name: str, what: str) -> Any:
        unknown: LookupError | None = None
        if resolver is not None:
            try:
                if (found := resolver(prepended(name, scope))) is not None:
                    return found
            except LookupError as error:
                unknown = error
        if is_reference(name):
            return imported(name)
        raise LoadError(
            f'Nobody knows the {what} "{prepended(name, scope)}" of a QueueRunnerDef: give from_proto a resolver that '
            f'does, or name it "module:attribute".'
        ) from unknown

    def operation(name: str, what: str, usual: str) -> Any | None:
        last = read.queue_name.rpartition("/")[2] + usual
        try:
            return named(prepended(name, scope), find(name, what)) if name else None
        except LoadError:
            if name.rpartition("/")[2] == last:
                return None
            raise

    return Parts(
        prepended(read.queue_name, scope),
        find(read.queue_name, "queue"),
        [named(prepended(name, scope), find(name, "enqueue operation")) for name in read.enqueue_op_name],
        operation(read.close_op_name, "close operation", CLOSE),
        operation(read.cancel_op_name, "cancel operation", CANCEL),
        tuple(map(_type, read.queue_closed_exception_types)) or None,
    )


def codes(types: tuple[type[BaseException], ...]) -> list[int]:
    """The codes of these classes. Raises ValueError: one has none."""
    try:
        return list(map(error_code_from_exception_type, types))
    except KeyError as error:
        (kind,) = error.args
        raise ValueError(
            f"{kind.__qualname__} has no code, so that it cannot travel in a QueueRunnerDef as one of the "
            f"queue_closed_exception_types; the classes of enqueued.errors that have one can."
        ) from None


def in_scope(name: str, scope: str | None) -> bool:
    """Whether `name` lies in this scope; without a scope, each does."""
    return not scope or name.startswith(scope.rstrip("/") + "/")


def stripped(name: str, scope: str | None) -> str:
    """`name` as it is called within this scope."""
    return name[len(scope.rstrip("/")) :].lstrip("/") if scope and in_scope(name, scope) else name


def prepended(name: str, scope: str | None) -> str:
    """`name` as it is called outside of this scope."""
    return f"{scope.rstrip('/')}/{name}" if scope else name


def _definition(given: Any) -> QueueRunnerDef:
    if isinstance(given, QueueRunnerDef):
        return given
    if callable(getattr(given, "SerializeToString", None)):  # TensorFlow's own message
        return QueueRunnerDef.FromString(given.SerializeToString())
    raise TypeError(
        f"queue_runner_def must be a QueueRunnerDef, but is {given!r}; bytes are read by QueueRunnerDef.FromString"
    )


def _type(code: int) -> type[BaseException]:
    try:
        return exception_type_from_error_code(code)
    except KeyError:
        raise ProtocolError(
            f"The code {code} in queue_closed_exception_types of a QueueRunnerDef stands for no error; 1 to 16 do."
        ) from None
