"""Whether a source's epoch hooks do anything: a base class's empty `on_epoch_end` must not cost a zygote per epoch."""

from __future__ import annotations

import dis
from functools import cache
from types import FunctionType, MethodType
from typing import Any

NAMES = ("on_epoch_begin", "on_epoch_end")


def hook(user: Any, name: str) -> Any | None:
    """The source's hook of that name, or None when there is none or its body is empty."""
    found = getattr(user, name, None)
    if found is None or not callable(found):
        return None
    # Only a method of this very object is looked into; whatever else stands there was put there to do something.
    if isinstance(found, MethodType) and found.__self__ is user and _is_empty(found.__func__):
        return None
    return found


def _is_empty(function: Any) -> bool:
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        return False
    return _steps(function) in _templates()


def _steps(function: FunctionType) -> tuple[tuple[str, Any], ...]:
    # The interpreter leaves a NOP for each `pass` on a line of its own; a docstring shifts the constants' numbers.
    return tuple((step.opname, step.argval) for step in dis.get_instructions(function) if step.opname != "NOP")


@cache
def _templates() -> frozenset[tuple[tuple[str, Any], ...]]:
    """Empty bodies as this interpreter compiles them, whatever its instructions are called."""
    namespace: dict[str, Any] = {}
    exec("def bare(self): pass\ndef told(self):\n    'It is empty.'\n    return None\n", namespace)
    return frozenset({_steps(namespace["bare"]), _steps(namespace["told"])})
