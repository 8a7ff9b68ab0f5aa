"""The page that says what each lane of a worker is doing."""

from __future__ import annotations

import os
import signal
import time

import pytest

from enqueued.pool.page import Page

Pages = tuple[Page, Page]


@pytest.fixture
def pages() -> Pages:
    """The daemon's view and the worker's view of one page with three lanes."""
    daemon, fd = Page.create(3)
    worker = Page(fd, 3)
    os.close(fd)
    return daemon, worker


def test_a_new_page_says_that_nothing_is_made(pages: Pages) -> None:
    """Position 0:0 is not taken for nothing, nor nothing for 0:0."""
    daemon, worker = pages
    assert daemon.doing(time.monotonic()) == []
    worker.begin(0, 0, 0)
    assert [one.position for one in daemon.doing(time.monotonic())] == [(0, 0)]


def test_what_lanes_make_is_told_longest_first(pages: Pages) -> None:
    """With the time that has passed since."""
    daemon, worker = pages
    worker.begin(2, 4, 7)
    worker.begin(0, 4, 8)
    worker.begin(1, 4, 9)
    worker.rest(1)
    doing = daemon.doing(time.monotonic() + 5)
    assert [one.position for one in doing] == [(4, 7), (4, 8)]
    assert doing[0].seconds >= doing[1].seconds >= 5


def test_it_is_read_after_the_worker_has_died(pages: Pages) -> None:
    """That is what it is for."""
    daemon, worker = pages
    pid = os.fork()
    if pid == 0:
        worker.begin(1, 3, 14)
        os._exit(0)
    os.waitpid(pid, 0)
    assert [one.position for one in daemon.doing(time.monotonic())] == [(3, 14)]


def test_what_is_read_while_it_is_written_never_seems_old(pages: Pages) -> None:
    """A daemon that sees a new position with another one's time would kill a healthy worker."""
    daemon, worker = pages
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        while True:
            worker.begin(0, 2, 5)
            worker.rest(0)
    try:
        read = [daemon.doing(time.monotonic()) for _ in range(100_000)]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    limit = time.monotonic() - began
    assert not [found for found in read if found and found[0].seconds > limit]
    assert {found[0].position[1] for found in read if found} <= {5}
