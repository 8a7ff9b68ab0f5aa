"""The names under which programs find the classes."""

from __future__ import annotations

import subprocess
import sys

import pytest

import enqueued

pytestmark = pytest.mark.timeout(50)
NAMES = "Coordinator LooperThread Queue QueueRunner QueueRunnerDef add_queue_runner errors start_queue_runners"
ENQUEUERS = "Sequence SequenceEnqueuer OrderedEnqueuer GeneratorEnqueuer get_worker_info"


@pytest.mark.parametrize("name", [*NAMES.split(), *ENQUEUERS.split()])
def test_they_are_at_the_top(name: str) -> None:
    """A program changes its import, and nothing else."""
    assert name in enqueued.__all__
    assert getattr(enqueued, name).__name__.rpartition(".")[2] == name


def test_errors_need_no_import_of_their_own() -> None:
    """As `tf.errors`; and threads with queues need neither NumPy nor ZeroMQ."""
    asked = f"""
import sys, enqueued
assert issubclass(enqueued.errors.OutOfRangeError, enqueued.errors.OpError)
for name in {NAMES!r}.split():
    getattr(enqueued, name)
print(sorted({{"numpy", "zmq", "msgpack", "click"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False, timeout=40)
    assert done.stdout.strip() == "[]", done.stderr
