from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from enqueued.source.image import BLAS_VARIABLES, fork_hazard, hold_blas_to_one_thread, maps_cuda

NATIVE_THREAD = """
import ctypes, sys
library = ctypes.CDLL(None)
entry = ctypes.cast(library.pause, ctypes.c_void_p)
for _ in range(int(sys.argv[1])):
    library.pthread_create(ctypes.byref(ctypes.c_ulong()), None, entry, None)
from enqueued.source.image import fork_hazard
print(fork_hazard())
"""


def told_by(code: str, *args: str, **variables: str) -> str:
    environ = {name: value for name, value in os.environ.items() if name not in BLAS_VARIABLES}
    environ |= hold_blas_to_one_thread(variables) | variables | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=30, env=environ, check=True
    )
    return done.stdout.strip()


def test_a_process_without_threads_may_be_forked() -> None:
    """Also after NumPy with its BLAS, which the variables hold to one thread."""
    code = (
        "import numpy as np; a = np.ones((300, 300)); a @ a\n"
        "from enqueued.source.image import fork_hazard; print(fork_hazard())"
    )
    assert told_by(code) == "None"


def test_threads_of_the_users_are_named() -> None:
    """The message says which threads, so that the user finds who started them."""
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="user-prefetch")
    thread.start()
    try:
        reason = fork_hazard()
        assert reason is not None
        assert "user-prefetch" in reason
    finally:
        release.set()
        thread.join()


def test_native_threads_are_counted() -> None:
    """A library's own threads are not in Python's list; the kernel knows them."""
    reason = told_by(NATIVE_THREAD, "2")
    assert reason.startswith("2 native threads are running in it (")
    assert reason.endswith("and BLAS and OpenMP account for 0")


@pytest.mark.parametrize(("allowed", "verdict"), [("2", "None"), ("2,4", "None"), ("1", "2 native threads")])
def test_threads_that_the_user_allowed_blas_are_taken_for_its(allowed: str, verdict: str) -> None:
    """OMP_NUM_THREADS and the like say how many there may be; OpenMP's lists count by their first number."""
    assert told_by(NATIVE_THREAD, "2", OMP_NUM_THREADS=allowed).startswith(verdict)


def test_threads_that_have_ended_do_not_count() -> None:
    """A pool that was used and closed in the constructor is no reason."""
    code = (
        "from concurrent.futures import ThreadPoolExecutor as P\n"
        "from enqueued.source.image import fork_hazard\n"
        "with P(8) as pool: list(pool.map(str, range(100)))\n"
        "print(fork_hazard())"
    )
    assert told_by(code) == "None"


def test_the_users_variables_are_kept() -> None:
    """Only what the user left open is set to one."""
    held = hold_blas_to_one_thread({"OMP_NUM_THREADS": "4", "PATH": "/bin"})
    assert held == {name: "1" for name in BLAS_VARIABLES if name != "OMP_NUM_THREADS"}


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ("7f2c00000000-7f2c00200000 rw-s 00000000 00:06 532  /dev/nvidia-uvm\n", True),
        ("200000000-200200000 ---p 00000000 00:06 530        /dev/nvidiactl\n", True),
        ("7f2c00000000-7f2c00200000 r-xp 00000000 08:01 99   /usr/lib/libcuda.so.1\n", False),
    ],
)
def test_a_cuda_context_is_seen_in_the_memory_map(line: str, holds: bool) -> None:
    """The driver's devices are mapped once a context exists; its library alone is harmless."""
    assert maps_cuda(["00400000-00452000 r-xp 00000000 08:02 173521 /usr/bin/python\n", line]) is holds
