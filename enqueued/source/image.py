"""Whether this process's image may be forked, and how to keep it so."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

BLAS_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_LOOKS = 20
_LOOK_PAUSE_S = 0.005


def hold_blas_to_one_thread(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to set for a zygote so that its libraries start no threads, without those that the user set.

    They belong into the environment that the interpreter is started with: OpenBLAS reads them when NumPy is imported.
    """
    return {name: "1" for name in BLAS_VARIABLES if name not in environ}


def fork_hazard() -> str | None:
    """Why this process must not be forked, or None: a CUDA context, or threads other than those of BLAS and OpenMP.

    A forked child has none of the parent's threads, but any lock that they held stays held for ever.
    Threads are counted as BLAS's as far as the user's ``OMP_NUM_THREADS`` and the like allow them.
    """
    with suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        if maps_cuda(maps):
            return "it holds a CUDA context"
    # A thread that has been joined may still be on its way out of the kernel: look again before blaming it.
    for _ in range(_LOOKS):
        reason = _thread_hazard()
        if reason is None:
            return None
        time.sleep(_LOOK_PAUSE_S)
    return reason


def maps_cuda(maps: Iterable[str]) -> bool:
    """Whether the lines of a ``/proc/self/maps`` show the driver's devices, as they do once a context exists."""
    return any("/dev/nvidia" in line for line in maps)


def _thread_hazard() -> str | None:
    mine = threading.enumerate()
    others = [one.name for one in mine if one is not threading.main_thread() and one is not threading.current_thread()]
    if others:
        return f"threads are running in it: {', '.join(sorted(others))}"
    known = {one.native_id for one in mine} | {os.getpid()}
    try:
        native = {int(name) for name in os.listdir("/proc/self/task")} - known
    except OSError:
        return None
    allowed = _blas_threads(os.environ)
    if len(native) <= allowed:
        return None
    names = ", ".join(sorted(_thread_name(one) for one in native))
    return f"{len(native)} native threads are running in it ({names}), and BLAS and OpenMP account for {allowed}"


def _blas_threads(environ: Mapping[str, str]) -> int:
    total = 0
    for name in BLAS_VARIABLES:
        first = environ.get(name, "").split(",")[0].strip()  # OMP_NUM_THREADS may list one number per nesting level
        if first.isdecimal() and int(first) > 1:
            total += int(first)
    return total


def _thread_name(number: int) -> str:
    with suppress(OSError), open(f"/proc/self/task/{number}/comm", encoding="utf-8", errors="replace") as comm:
        return comm.read().strip()
    return str(number)
