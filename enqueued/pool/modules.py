"""The files that a source's code was loaded from, as they were then."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import sysconfig
from types import ModuleType

from enqueued.errors import LoadError
from enqueued.pool.watch import Version, digest, modified_ns
from enqueued.source.load import import_attribute
from enqueued.source.spec import SourceSpec

_MOST_BYTES = 24_000
"""So much may be told of paths: a message has room for no more."""
_OTHERS = tuple(
    folder + os.sep
    for folder in (
        os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        *{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")},
    )
)


def source_file(spec: SourceSpec) -> str:
    """The file of the target's class or function, which may be imported from elsewhere, or else of its module."""
    names = [spec.target.partition(":")[0]]
    with contextlib.suppress(LoadError):
        found = import_attribute(spec.target, spec.app_dir)
        if inspect.isclass(found) or inspect.isfunction(found):
            names.insert(0, found.__module__)
    return next((file for name in names if (file := _file(sys.modules.get(name)))), "")


def loaded_versions(spec: SourceSpec) -> list[Version]:
    """The source's file, and every module below its folder that it imported, as they are now.

    Installed packages do not count. At most as many as fit a message.
    """
    folder = os.path.abspath(spec.app_dir or os.getcwd()) + os.sep
    files = dict.fromkeys([source_file(spec), *sorted(filter(None, map(_file, list(sys.modules.values()))))])
    found: list[Version] = []
    told = 0
    for number, file in enumerate(files):
        if file and (not number or (file.startswith(folder) and not file.startswith(_OTHERS))):
            told += len(os.fsencode(file)) + 32
            if told > _MOST_BYTES:
                break
            found.append((file, modified_ns(file), digest(file)))
    return found


def _file(module: ModuleType | None) -> str:
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    if not isinstance(file, str) or not file.isprintable():  # what has odd bytes in its name cannot be told
        return ""
    return os.path.abspath(file)
