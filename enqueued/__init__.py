"""enqueued feeds training jobs from one shared queue of batches.

What a trainer needs is `Client`; what a source may use is `rng` and `get_worker_info`. Names are imported when they are
first used, so that `import enqueued` costs nothing and a trainer never loads the daemon.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enqueued.batch import Batch as Batch
    from enqueued.client.client import Client as Client
    from enqueued.source.seeding import WorkerInfo as WorkerInfo
    from enqueued.source.seeding import get_worker_info as get_worker_info
    from enqueued.source.seeding import rng as rng

__version__ = "0.1.0"

_HOMES = {
    "Batch": "enqueued.batch",
    "Client": "enqueued.client.client",
    "WorkerInfo": "enqueued.source.seeding",
    "get_worker_info": "enqueued.source.seeding",
    "rng": "enqueued.source.seeding",
}

__all__ = ["Batch", "Client", "WorkerInfo", "__version__", "get_worker_info", "rng"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'enqueued' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
