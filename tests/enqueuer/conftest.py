"""Threads or processes, and what must not be left of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import waiting


@pytest.fixture(params=[False, True], ids=["threads", "processes"])
def use_multiprocessing(request: pytest.FixtureRequest) -> bool:
    """Who makes the batches."""
    return bool(request.param)


@pytest.fixture(autouse=True)
def no_worker_is_left() -> Iterator[None]:
    """Each test's enqueuers and queue runners have ended their threads when it is over."""
    yield
    waiting.until(lambda: not workers(), what="the end of all worker threads")


def workers() -> list[threading.Thread]:
    """The threads of all enqueuers and queue runners that run."""
    names = ("enqueued-worker", "enqueued engine", "QueueRunnerThread")
    return [thread for thread in threading.enumerate() if thread.name.startswith(names)]
