"""Whether this very program may be forked, for an object that cannot be pickled, and what to say where it may not."""

from __future__ import annotations

import ctypes
import os
import re
import threading
import time
import types
from contextlib import suppress
from typing import Any

from enqueued.errors import LoadError
from enqueued.pool.parcel import Parcel
from enqueued.source.image import maps_cuda

ENGINE = "enqueued engine"
"""The name of threads that may be there: what they hold is let go of in a forked child."""
_SETTLE_S = 0.2
"""For so long the kernel may still list a thread that has ended."""
_LOOK_S = 0.002
_LIBRARIES = re.compile(r"/[^/]*(openblas|mkl_rt|blis|gomp|iomp|libomp)[^/]*\.so[^/]*$")
_COUNTS = (
    "scipy_openblas_get_num_threads64_",
    "scipy_openblas_get_num_threads",
    "openblas_get_num_threads64_",
    "openblas_get_num_threads",
    "MKL_Get_Max_Threads",
    "bli_thread_get_num_threads",
    "omp_get_max_threads",
)


def why_not() -> str | None:
    """Why this process must not be forked from this thread, or None.

    It may be if its only other threads are those of BLAS and OpenMP, which know of forks, and enqueued's own engines.
    """
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        maps = file.read().splitlines()
    if maps_cuda(maps):
        return "this program holds a CUDA context"
    here = threading.enumerate()
    others = [one.name for one in here if one is not threading.current_thread() and one.name != ENGINE]
    if others:
        return f"threads are running in this program: {', '.join(sorted(others))}"
    allowed = sum(max(0, _threads(path) - 1) for path in {line.split()[-1] for line in maps if _LIBRARIES.search(line)})
    deadline = time.monotonic() + _SETTLE_S
    while (native := len(os.listdir("/proc/self/task")) - len(here)) > allowed:
        if time.monotonic() > deadline:
            return f"{native} native threads are running in this program, and BLAS and OpenMP account for {allowed}"
        time.sleep(_LOOK_S)
    return None


def _threads(path: str) -> int:
    """How many threads a library that is loaded already says that it uses."""
    with suppress(OSError):
        library = ctypes.CDLL(path, os.RTLD_NOLOAD | os.RTLD_LAZY)
        for name in _COUNTS:
            with suppress(AttributeError):
                return int(getattr(library, name)())
    return 0


def ways_out(user: Any, unpicklable: Exception, hazard: str) -> str:
    """What is told when an object can neither be pickled nor forked."""
    name = type(user).__qualname__
    if isinstance(unpicklable, LoadError):
        return (
            f"{name} goes to its worker processes by pickle, and they cannot import its class: {unpicklable}. To fork "
            f"this program instead is not safe, because {hazard}. Or use threads: use_multiprocessing=False"
        )
    what = f"the {name}" if name != "generator" else "a plain generator"
    ways = "open it in worker_init(self, info), which each worker calls, leave it out of __getstate__"
    if isinstance(user, types.GeneratorType):
        ways = "pass an iterator of a class that can be pickled"
    else:
        found = next((one for one, value in _attributes(user).items() if not _picklable(value)), None)
        if found is not None:
            what = f"its attribute {found!r} ({type(_attributes(user)[found]).__name__})"
    return (
        f"{name} goes to its worker processes by pickle, and {what} cannot be pickled: "
        f"{type(unpicklable).__name__}: {unpicklable}. To fork it is not safe, because {hazard}. To go on, {ways}, or "
        "use threads: use_multiprocessing=False"
    )


def _attributes(user: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(user, "__dict__", {})
    return found


def _picklable(value: Any) -> bool:
    try:
        Parcel(value)
    except Exception:
        return False
    return True
