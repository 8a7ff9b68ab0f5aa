"""When a program may be forked for what cannot be pickled."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from enqueued.source.image import BLAS_VARIABLES

pytestmark = pytest.mark.timeout(50)
ASKED = "from enqueued.enqueuer.forking import why_not; print(why_not())"


def told_by(code: str, **variables: str) -> str:
    """What a program of its own hears after these lines, with no more BLAS threads than the variables say."""
    environ = {**os.environ, **dict.fromkeys(BLAS_VARIABLES, "1"), **variables}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{ASKED}"], capture_output=True, text=True, timeout=45, env=environ, check=True
    )
    return done.stdout.strip()


def test_a_program_without_threads_may_be_forked() -> None:
    """The plain case."""
    assert told_by("") == "None"


def test_threads_of_blas_are_allowed() -> None:
    """They know of forks."""
    code = "import os, numpy as np; a = np.ones((300, 300)); a @ a; print(len(os.listdir('/proc/self/task')))"
    count, reason = told_by(code, OPENBLAS_NUM_THREADS="3").splitlines()
    assert reason == "None"
    assert int(count) > 1


def test_threads_of_openmp_are_allowed() -> None:
    """Those that torch computes with."""
    pytest.importorskip("torch", reason="torch is what brings OpenMP here")
    code = """
import os, torch
(torch.ones(1000, 1000) + 1).sum()
print(len(os.listdir("/proc/self/task")))
"""
    count, reason = told_by(code, OMP_NUM_THREADS="3", MKL_NUM_THREADS="3").splitlines()
    assert reason == "None"
    assert int(count) > 1


def test_other_native_threads_are_not() -> None:
    """Here those of ZeroMQ, of which Python does not know."""
    reason = told_by("import zmq; context = zmq.Context(); socket = context.socket(zmq.PUB)")
    assert reason == "2 native threads are running in this program, and BLAS and OpenMP account for 0"


def test_threads_of_the_programs_own_are_named() -> None:
    """So that the user finds who started them."""
    reason = told_by("import threading as t; t.Thread(target=t.Event().wait, name='prefetch', daemon=True).start()")
    assert reason == "threads are running in this program: prefetch"


def test_a_cuda_context_is_a_reason() -> None:
    """It is seen by the driver's device in the memory map, which is a plain file here."""
    code = """
import mmap, os, tempfile
folder = tempfile.mkdtemp()
os.mkdir(folder + "/dev")
with open(folder + "/dev/nvidia0", "wb+") as file:
    file.write(bytes(4096))
    file.flush()
    held = mmap.mmap(file.fileno(), 4096)
"""
    assert told_by(code) == "this program holds a CUDA context"
