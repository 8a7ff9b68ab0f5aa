"""enqueued feeds training jobs from one shared queue of batches.

What a trainer needs is `Client`; what a source may use is `rng`, `get_worker_info` and `empty`; what makes batches
within one program, without a daemon, are the enqueuers. Names are imported when they are first used, so that
`import enqueued` costs nothing and a trainer never loads the daemon.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enqueued import errors as errors
    from enqueued.batch import Batch as Batch
    from enqueued.client.client import Client as Client
    from enqueued.enqueuer.collection import add_queue_runner as add_queue_runner
    from enqueued.enqueuer.collection import start_queue_runners as start_queue_runners
    from enqueued.enqueuer.coordinator import Coordinator as Coordinator
    from enqueued.enqueuer.definition import QueueRunnerDef as QueueRunnerDef
    from enqueued.enqueuer.enqueuer import SequenceEnqueuer as SequenceEnqueuer
    from enqueued.enqueuer.fifo import Queue as Queue
    from enqueued.enqueuer.generator import GeneratorEnqueuer as GeneratorEnqueuer
    from enqueued.enqueuer.looper import LooperThread as LooperThread
    from enqueued.enqueuer.ordered import OrderedEnqueuer as OrderedEnqueuer
    from enqueued.enqueuer.runner import QueueRunner as QueueRunner
    from enqueued.enqueuer.sequence import Sequence as Sequence
    from enqueued.source.building import empty as empty
    from enqueued.source.seeding import WorkerInfo as WorkerInfo
    from enqueued.source.seeding import get_worker_info as get_worker_info
    from enqueued.source.seeding import rng as rng

__version__ = "0.1.0"

_HOMES = {
    "Batch": "enqueued.batch",
    "Client": "enqueued.client.client",
    "Coordinator": "enqueued.enqueuer.coordinator",
    "GeneratorEnqueuer": "enqueued.enqueuer.generator",
    "LooperThread": "enqueued.enqueuer.looper",
    "OrderedEnqueuer": "enqueued.enqueuer.ordered",
    "Queue": "enqueued.enqueuer.fifo",
    "QueueRunner": "enqueued.enqueuer.runner",
    "QueueRunnerDef": "enqueued.enqueuer.definition",
    "Sequence": "enqueued.enqueuer.sequence",
    "SequenceEnqueuer": "enqueued.enqueuer.enqueuer",
    "WorkerInfo": "enqueued.source.seeding",
    "add_queue_runner": "enqueued.enqueuer.collection",
    "empty": "enqueued.source.building",
    "errors": "enqueued.errors",
    "get_worker_info": "enqueued.source.seeding",
    "rng": "enqueued.source.seeding",
    "start_queue_runners": "enqueued.enqueuer.collection",
}

__all__ = [
    "Batch",
    "Client",
    "Coordinator",
    "GeneratorEnqueuer",
    "LooperThread",
    "OrderedEnqueuer",
    "Queue",
    "QueueRunner",
    "QueueRunnerDef",
    "Sequence",
    "SequenceEnqueuer",
    "WorkerInfo",
    "__version__",
    "add_queue_runner",
    "empty",
    "errors",
    "get_worker_info",
    "rng",
    "start_queue_runners",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'enqueued' has no attribute {name!r}")
    module = import_module(home)
    return module if module.__name__ == f"enqueued.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
