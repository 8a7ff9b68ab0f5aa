"""From ``module:attribute`` to a source, with an own error for each way in which that fails."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import Any

from enqueued.errors import LoadError
from enqueued.source.construction import construct, is_factory
from enqueued.source.dataset import DatasetSource
from enqueued.source.failure import a, load_error, place, summary
from enqueued.source.generators import watch_generators
from enqueued.source.indexed import IndexedSource
from enqueued.source.seeding import OPENING, WorkerInfo, at, seed_generators
from enqueued.source.spec import SourceSpec
from enqueued.source.streamed import StreamedSource
from enqueued.source.streaming import streamed


def import_attribute(target: str, app_dir: str = "") -> Any:
    """The object that ``module:attribute[.attribute]`` names; `app_dir` (or the working directory) comes first.

    Raises LoadError: the target is malformed, there is no such module, the module raised, there is no such attribute.
    """
    module_name, _, attributes = target.partition(":")
    if not all(module_name.split(".")) or not all(attributes.split(".")):
        raise LoadError(
            f'"{target}" must be in format "<module>:<attribute>", such as "mymod:MySeq".{_file_hint(target)}'
        )
    folder = os.path.abspath(app_dir or os.getcwd())
    if not os.path.isdir(folder):
        raise LoadError(f"--app-dir {app_dir} is not a folder")
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()  # the module may be younger than the last look into its folder
    try:
        value = importlib.import_module(module_name)
    except BaseException as error:
        if _is_missing(module_name, error):
            raise LoadError(
                f'Could not import module "{module_name}": {_first_line(error)}. Looked in {folder} and the '
                f"installed packages; is it elsewhere? Then say so with --app-dir.{_file_hint(target)}"
            ) from None
        raise load_error(f'Module "{module_name}"', error) from error
    return _descend(value, module_name, attributes)


def build(spec: SourceSpec) -> IndexedSource | StreamedSource:
    """The source that `spec` names, constructed and checked. Raises LoadError, whatever the user's code does.

    The global generators are seeded before the module is imported and again before the constructor runs, so that a
    later process can build the same object.
    """
    if spec.kind != "generator":
        watch_generators()
    _seed(spec)
    found = import_attribute(spec.target, spec.app_dir)
    _function(spec.collate, "--collate", spec)
    _function(spec.worker_init, "--worker-init", spec)
    import numpy.random  # noqa: F401 - loaded only now, it would miss the seed if the constructor were its first user

    _seed(spec)
    if spec.kind == "generator":
        return streamed(spec, found)
    user = construct(spec, found) if is_factory(found) else found
    if user is found and spec.args:
        names = ", ".join(spec.args)
        raise LoadError(f"{spec.target} is {a(user)} that exists already; it takes no --arg ({names})")
    try:
        _check_protocol(spec, user)
        source = indexed_source(spec, user)
        source.length()
    except LoadError:
        raise
    except BaseException as error:  # a property or a __getattr__ of the user's, met while looking for methods
        raise load_error(spec.target, error) from error
    return source


def indexed_source(spec: SourceSpec, user: Any) -> IndexedSource:
    """The source around a user's object that is there already, as in an interpreter that was sent it by pickle."""
    if spec.kind == "dataset":
        return DatasetSource(spec, user, _function(spec.collate, "--collate", spec))
    return IndexedSource(spec, user)


def run_worker_init(spec: SourceSpec, source: IndexedSource | StreamedSource, info: WorkerInfo) -> None:
    """Runs ``--worker-init mod:fn`` as ``fn(source, info)``, else the source's own ``worker_init(info)``, if any.

    `source` is the user's object there. Call it in each worker after the fork. Raises LoadError when it raises.
    """
    if spec.worker_init is not None:
        function = _function(spec.worker_init, "--worker-init", spec)
        arguments: tuple[Any, ...] = (source.user, info)
        name = f"--worker-init {spec.worker_init}"
    else:
        function = getattr(source.user, "worker_init", None)
        arguments = (info,)
        name = f"{spec.target}.worker_init"
    if not callable(function):
        return
    try:
        function(*arguments)
    except BaseException as error:
        raise load_error(name, error) from error


def _seed(spec: SourceSpec) -> None:
    at(spec.seed, 0, OPENING)
    seed_generators(spec.seed, 0, OPENING)


def _function(target: str | None, flag: str, spec: SourceSpec) -> Any:
    if target is None:
        return None
    function = import_attribute(target, spec.app_dir)
    if not callable(function):
        raise LoadError(f"{flag} {target} is {a(function)}, not a function")
    return function


def _check_protocol(spec: SourceSpec, user: Any) -> None:
    """Raises LoadError unless the user's object has a length and an index."""
    kind = type(user)
    flag = "--" + spec.kind
    gives = f"{spec.target} gives {a(user)}"
    if isinstance(user, (str, bytes)):
        raise LoadError(f"{gives}, whose parts are no batches")
    # torch's IterableDataset inherits a __getitem__ that only raises
    iterable_dataset = any(base.__name__ == "IterableDataset" for base in kind.__mro__)
    hint = f"; it is iterable: serve it with --generator {spec.target}" if hasattr(kind, "__iter__") else ""
    if iterable_dataset:
        raise LoadError(f"{gives}, an iterable dataset; serve it with --generator {spec.target} instead of {flag}")
    if not hasattr(kind, "__getitem__"):
        raise LoadError(f"{gives}, which has no __getitem__; {flag} needs __len__ and __getitem__{hint}")
    if not hasattr(kind, "__len__") and not hasattr(kind, "num_batches") and not hasattr(user, "num_batches"):
        raise LoadError(f"{gives}, which has no __len__; {flag} needs __len__ and __getitem__{hint}")


def _descend(value: Any, module_name: str, attributes: str) -> Any:
    passed = module_name
    for name in attributes.split("."):
        try:
            value = getattr(value, name)
        except AttributeError as error:
            names = [one for one in dir(value) if not one.startswith("__")]
            close = difflib.get_close_matches(name, names, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            file = getattr(value, "__file__", None)
            where = f" ({file})" if file else ""
            raise LoadError(f'Attribute "{name}" not found in "{passed}"{where}{hint}') from error
        except BaseException as error:
            raise load_error(f"{passed}.{name}", error) from error
        passed = f"{passed}.{name}" if ":" in passed else f"{passed}:{name}"
    return value


def _is_missing(module_name: str, error: BaseException) -> bool:
    """Whether the target's own module is missing, and not one that the user's code imports."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return False
    return (module_name + ".").startswith(error.name + ".") and not place(error)


def _first_line(error: BaseException) -> str:
    return summary(error).partition(": ")[2] or summary(error)


def _file_hint(target: str) -> str:
    path = target.partition(":")[0]
    if not path.endswith(".py") and "/" not in path:
        return ""
    folder, name = os.path.split(path)
    module = name.removesuffix(".py")
    return f' Give a module, not a file: "{module}:..."' + (f" with --app-dir {folder}" if folder else "")
