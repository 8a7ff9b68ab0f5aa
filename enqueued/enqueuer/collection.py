"""QueueRunners that are started together."""

from __future__ import annotations

import logging
import threading
from typing import Any

from enqueued.enqueuer.coordinator import Coordinator
from enqueued.enqueuer.runner import QueueRunner

logger = logging.getLogger(__name__)

QUEUE_RUNNERS = "queue_runners"

_collections: dict[str, list[QueueRunner]] = {}
_lock = threading.Lock()


def add_queue_runner(qr: QueueRunner, collection: str = QUEUE_RUNNERS) -> None:
    """Add `qr` to those that `start_queue_runners` starts.

    Collections belong to the process, for there are no graphs here; `clear_queue_runners` forgets one, as a new graph
    did.
    """
    with _lock:
        _collections.setdefault(collection, []).append(qr)


def start_queue_runners(
    sess: Any = None,
    coord: Coordinator | None = None,
    daemon: bool = True,
    start: bool = True,
    collection: str = QUEUE_RUNNERS,
) -> list[threading.Thread]:
    """Make, and with `start` begin, the threads of all QueueRunners of a collection; returns all that were made.

    Arguments and errors are those of `QueueRunner.create_threads`, but threads are daemons, and begin.
    """
    with _lock:
        runners = list(_collections.get(collection, ()))
    if not runners:
        logger.warning(
            "start_queue_runners() found no QueueRunner in the collection %r: nothing will be enqueued", collection
        )
    return [thread for one in runners for thread in one.create_threads(sess, coord=coord, daemon=daemon, start=start)]


def clear_queue_runners(collection: str = QUEUE_RUNNERS) -> None:
    """Forget the QueueRunners of a collection; threads that run go on."""
    with _lock:
        _collections.pop(collection, None)
