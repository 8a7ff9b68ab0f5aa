"""Calling the user's class or factory with the values of ``--arg`` and ``--local-arg``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from enqueued.errors import LoadError
from enqueued.source.failure import load_error
from enqueued.source.spec import SourceSpec

_PROTOCOL = ("__getitem__", "__iter__", "__next__")


def is_factory(found: Any) -> bool:
    """Whether the target is called to get the source: a class, or a callable that is not itself a source."""
    return inspect.isclass(found) or (callable(found) and not any(hasattr(type(found), name) for name in _PROTOCOL))


def construct(spec: SourceSpec, factory: Callable[..., Any]) -> Any:
    """What the user's class or function gives for `spec.arguments`. Raises LoadError, also for SystemExit."""
    try:
        return factory(**spec.arguments)
    except TypeError as error:
        # Raised by the call itself, not inside the user's code: the arguments do not fit.
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            misfit = arguments_misfit(spec, factory)
            if misfit is not None:
                raise LoadError(misfit) from None
        raise load_error(spec.target, error) from error
    except BaseException as error:
        raise load_error(spec.target, error) from error


def arguments_misfit(spec: SourceSpec, factory: Callable[..., Any]) -> str | None:
    """Why `spec.arguments` do not fit the signature, and what it is; None when they fit or there is no signature."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # a builtin without one
        return None
    try:
        signature.bind(**spec.arguments)
        return None
    except TypeError:
        pass
    parameters = signature.parameters.values()
    named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    names = [one.name for one in named]
    takes = f"{spec.target} takes {', '.join(names) if names else 'no arguments'}"
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):
        for name, value in spec.arguments.items():
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                flag = "--arg" if name in spec.args else "--local-arg"
                return f"{takes}; {flag} {name}={value!r} is not one of them{hint}"
    missing = [one.name for one in named if one.default is one.empty and one.name not in spec.arguments]
    if missing:
        wanted = " ".join(f"--arg {name}=..." for name in missing)
        return f"{takes}; {', '.join(missing)} must be given: {wanted}"
    return f"{spec.target} has positional-only parameters, which --arg cannot give: {signature}"
