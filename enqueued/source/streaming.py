"""Which kind of streamed source the user's object is, and how each of its epochs begins."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from enqueued.errors import LoadError
from enqueued.source.construction import arguments_misfit, construct, is_factory
from enqueued.source.failure import a, load_error
from enqueued.source.spec import SourceSpec
from enqueued.source.streamed import StreamedSource


def streamed(spec: SourceSpec, found: Any) -> StreamedSource:
    """The streamed source of a generator function, a factory, an iterable's class, an iterable or an iterator.

    A function is called once per epoch, where the epoch is read; a class is called here, and its instance iterated once
    per epoch (an instance that is its own iterator is made anew each epoch). Raises LoadError.
    """
    if inspect.isasyncgenfunction(found) or inspect.iscoroutinefunction(found) or hasattr(found, "__aiter__"):
        raise LoadError(f"{spec.target} is asynchronous; --generator needs a plain generator")
    if inspect.isclass(found):
        return _of_class(spec, found)
    if is_factory(found):
        # A wrapper may take other arguments than the function whose signature it shows.
        misfit = None if hasattr(found, "__wrapped__") else arguments_misfit(spec, found)
        if misfit is not None:
            raise LoadError(misfit)
        return StreamedSource(spec, found, _starter(spec, lambda: construct(spec, found)))
    if spec.args:
        names = ", ".join(spec.args)
        raise LoadError(f"{spec.target} is {a(found)} that exists already; it takes no --arg ({names})")
    _check_iterable(spec, found)
    return StreamedSource(spec, found, _starter(spec, lambda: found), one_epoch=hasattr(type(found), "__next__"))


def _of_class(spec: SourceSpec, found: Any) -> StreamedSource:
    user = construct(spec, found)
    _check_iterable(spec, user)
    if not hasattr(type(user), "__next__"):
        return StreamedSource(spec, user, _starter(spec, lambda: user))
    unused = [user]  # the first epoch takes the instance that is here already
    return StreamedSource(spec, user, _starter(spec, lambda: unused.pop() if unused else construct(spec, found)))


def _starter(spec: SourceSpec, give: Callable[[], Any]) -> Callable[[], Iterator[Any]]:
    def start() -> Iterator[Any]:
        iterable = give()
        _check_iterable(spec, iterable)
        try:
            iterator: Iterator[Any] = iter(iterable)
        except BaseException as error:
            raise load_error(f"{spec.target}.__iter__", error) from error
        return iterator

    return start


def _check_iterable(spec: SourceSpec, value: Any) -> None:
    kind = type(value)
    if hasattr(kind, "__iter__") or hasattr(kind, "__next__"):
        return
    hint = "; it has __getitem__: serve it with --sequence" if hasattr(kind, "__getitem__") else ""
    raise LoadError(f"{spec.target} gives {a(value)}, which has no __iter__; --generator needs one{hint}")
