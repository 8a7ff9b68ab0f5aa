"""The systems that are measured: for each one function that gives batches, in a file by kind.

`open` is a context manager around a `Feed`, in a process of its own. Where ready batches are sent it gets a size and an
empty folder, and starts the one producer process itself; a trainer (`TRAINERS`) is told the source, or who serves it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.batches import SIZES

ALL = tuple(SIZES)
LARGE = ("big", "mid")


def _nothing() -> dict[str, float]:
    return {}


@dataclass(frozen=True)
class Feed:
    """An endless iterator of batches; `usage` gives counters (``daemon_cpu_s``), `facts` what holds at the end.

    `state` is what the trainer saves with its model in order to go on there; nothing where there is no such thing.
    """

    batches: Iterator[Any]
    usage: Callable[[], dict[str, float]] = _nothing
    facts: Callable[[], dict[str, Any]] = _nothing
    state: Callable[[], dict[str, Any]] = _nothing


@dataclass(frozen=True)
class Server:
    """What clients of other processes reach at an address; `facts` gives what holds while they are there."""

    address: str
    facts: Callable[[], dict[str, Any]] = _nothing


@dataclass(frozen=True)
class System:
    """One system: `where` is module:function, `needs` the module without which it cannot be measured."""

    name: str
    title: str
    where: str
    arguments: dict[str, Any] = field(default_factory=dict)
    needs: str = "numpy"
    sizes: tuple[str, ...] = ALL

    @property
    def installed(self) -> bool:
        """Whether it can be measured here."""
        return importlib.util.find_spec(self.needs) is not None

    def open(self, *given: Any, **more: Any) -> AbstractContextManager[Feed]:
        """Start it."""
        opened: AbstractContextManager[Feed] = _function(self.where)(*given, **self.arguments, **more)
        return opened


@dataclass(frozen=True)
class Divided(System):
    """A system whose batches several clients divide: who has them is started by itself, and `open` is one client."""

    server: str = ""
    clients: int = 1

    def serve(self, *given: Any) -> AbstractContextManager[Server]:
        """Start who has the batches."""
        served: AbstractContextManager[Server] = _function(self.server)(*given)
        return served


def _function(where: str) -> Callable[..., Any]:
    module, _, name = where.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(f"benchmarks.systems.{module}"), name)
    return function


def _pyzmq(transport: str, high_water: int, title: str, sizes: tuple[str, ...] = ALL) -> System:
    name = f"pyzmq-{transport}" if high_water == 10 else f"pyzmq-{transport}-{high_water}"
    arguments = {"transport": transport, "high_water": high_water}
    return System(name, title, "sockets:pushed", arguments, needs="zmq", sizes=sizes)


SYSTEMS = {
    system.name: system
    for system in (
        System("enqueued", "enqueued, same host", "daemon:served"),
        System("enqueued-tcp", "enqueued, tcp on loopback", "daemon:served", {"tcp": True}),
        System("enqueued-filled", "enqueued, arrays filled anew", "daemon:served", {"source": "Filled"}, sizes=LARGE),
        System(
            "enqueued-in-place",
            "enqueued, filled in place",
            "daemon:served",
            {"source": "Filled", "in_place": True},
            sizes=LARGE,
        ),
        System("torch", "PyTorch DataLoader, 1 worker", "dataloader:loaded", needs="torch"),
        System("torch-tuned", "PyTorch DataLoader, tuned", "dataloader:loaded", {"tuned": True}, needs="torch"),
        System("tf-data", "tf.data service, its own tensors", "tfdata:served", needs="tensorflow"),
        _pyzmq("ipc", 10, "pyzmq PUSH/PULL, ipc, mark 10"),
        _pyzmq("tcp", 10, "pyzmq PUSH/PULL, tcp, mark 10"),
        _pyzmq("ipc", 1000, "pyzmq PUSH/PULL, ipc, mark 1000", ("small",)),
        _pyzmq("tcp", 1000, "pyzmq PUSH/PULL, tcp, mark 1000", ("small",)),
        System("tensorpack", "tensorpack send_dataflow_zmq", "dataflow:sent", needs="tensorpack"),
        System("relay", "a bare relay of messages", "relay:relayed", needs="zmq", sizes=LARGE),
        System("memory-slot", "one core, a warm shared slot", "memory:slot"),
        System("memory-copy", "copy within one process", "memory:copied"),
    )
}
OURS = ("enqueued", "enqueued-tcp")
CLIENTS = (1, 4)
REMOTE = {
    f"{name}-{clients}": Divided(
        f"{name}-{clients}",
        f"{title}, {clients} client{'s' if clients > 1 else ''}",
        f"{module}:divided",
        needs=needs,
        sizes=LARGE,
        server=f"{module}:serving",
        clients=clients,
    )
    for clients in CLIENTS
    for name, title, module, needs in (
        ("enqueued", "enqueued, tcp", "daemon", "numpy"),
        ("pyzmq", "pyzmq PUSH/PULL, tcp, mark 10", "sockets", "zmq"),
    )
}
"""Over tcp on loopback, to one client and to several that divide the batches."""


def _in_process(name: str, title: str, where: str, needs: str = "numpy", **arguments: Any) -> list[System]:
    """A system that is measured twice: its batches, and with short epochs the time between them."""
    return [
        System(name, title, where, arguments, needs),
        System(f"{name}-epochs", title, where, arguments | {"length": EPOCH}, needs, sizes=("mid",)),
    ]


EPOCH = 20
"""Batches of an epoch, where the time between epochs is measured."""
IN_PROCESS = {
    system.name: system
    for system in (
        *_in_process("processes", "enqueued.OrderedEnqueuer, 2 processes", "enqueuers:ours", processes=True),
        *_in_process("threads", "enqueued.OrderedEnqueuer, 2 threads", "enqueuers:ours"),
        *_in_process("keras-processes", "Keras 3, 2 processes", "enqueuers:keras", "keras", processes=True),
        *_in_process("keras-threads", "Keras 3, 2 threads", "enqueuers:keras", "keras"),
        *_in_process("dataloader", "PyTorch DataLoader, 2 workers", "enqueuers:dataloader", "torch"),
    )
}
TRAINERS = {
    name: System(name, title, f"trainers:{function}", needs=needs, sizes=("photos",))
    for name, title, function, needs in (
        ("enqueued", "enqueued, one daemon", "client", "numpy"),
        ("torch", "PyTorch DataLoader", "loader", "torch"),
        ("keras", "Keras 3 OrderedEnqueuer", "keras", "keras"),
        ("tf-data", "tf.data service, in process", "tf_data", "tensorflow"),
    )
}
"""Where a trainer has its batches from that are made of a source of Python."""
PEERS = {name: system for name, system in TRAINERS.items() if name != "enqueued"}


def chosen(words: tuple[str, ...], systems: Mapping[str, System], always: Collection[str]) -> list[System]:
    """`always` these, and those whose name begins with one of `words` (none: all). Raises KeyError for no match."""
    for word in words:
        if not any(name.startswith(word) for name in systems):
            raise KeyError(word)
    return [system for name, system in systems.items() if name in always or not words or name.startswith(words)]
