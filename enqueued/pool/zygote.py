"""The zygote: a fresh interpreter that loads the source once and forks workers from that image.

A zygote runs user code only until it is ready; after that it waits, forks and reaps. A source that has `on_epoch_end`
gets a zygote for each epoch, forked from the last one's, which calls it: once, in one place, seen by every worker.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
import traceback
from typing import Any, NoReturn

import msgpack

from enqueued.errors import EnqueuedError, LoadError, SourceError
from enqueued.pool.channel import Channel, Message, shorten
from enqueued.pool.children import Wakeup, ended, ending
from enqueued.pool.lanes import work
from enqueued.pool.lifeline import adopt_orphans, hang_on, name_process
from enqueued.pool.modules import loaded_versions, source_file
from enqueued.pool.sent import Sent, SentWorker
from enqueued.pool.spawned import find_unpicklable, spawn_worker, spawn_zygote
from enqueued.pool.watch import digest
from enqueued.pool.worker import Worker
from enqueued.source.files import open_regular_files
from enqueued.source.image import fork_hazard
from enqueued.source.indexed import IndexedSource
from enqueued.source.load import build
from enqueued.source.spec import SourceSpec
from enqueued.source.streamed import StreamedSource

_PROGRESS_S = 1.0
"""How often a zygote on its way to a late epoch says that it goes on."""


class Zygote:
    """The loaded source, and the children that were made from it."""

    def __init__(self, channel: Channel, spec: SourceSpec, start_method: str, sent: Sent | None = None) -> None:
        self._channel = channel
        self._spec = spec
        self._start_method = start_method
        self._sent = sent
        self._source: IndexedSource | StreamedSource
        self._spawns = False
        self._children: dict[int, tuple[str, int]] = {}
        """By pid: how to say that it ended, and its number, a worker's or a generation's."""

    def take(self, source: IndexedSource) -> None:
        """Go on from a source that was sent here."""
        self._source = source
        self._spawns = True

    def load(self) -> Message:
        """Import and construct the source; what the daemon has to know about it."""
        before, began, loaded_at = open_regular_files(), time.monotonic(), time.time()
        sent = self._sent
        source = self._source = build(self._spec) if sent is None else sent.build(self._spec)
        if isinstance(source, IndexedSource) and sent is None:
            source.begin()
        hazard = fork_hazard() if self._start_method == "auto" else None
        self._spawns = self._start_method == "spawn" or hazard is not None
        if self._spawns and isinstance(source, IndexedSource) and sent is None:
            find_unpicklable(self._spec, source, hazard)
        file = source_file(self._spec) if sent is None else ""
        return {
            "indexed": isinstance(source, IndexedSource),
            "hook": isinstance(source, IndexedSource) and source.has_epoch_hook,
            "one_epoch": isinstance(source, StreamedSource) and source.one_epoch,
            "length": source.length() if isinstance(source, IndexedSource) and sent is None else None,
            "files": sorted(open_regular_files() - before),
            "file": file,
            "hash": digest(file),
            "loaded_at": loaded_at,
            "versions": loaded_versions(self._spec) if sent is None else [],
            "spawns": self._spawns,
            "hazard": hazard,
            "load_s": time.monotonic() - began,
        }

    def step(self, steps: int) -> Message:
        """Go on by so many epochs: `on_epoch_end` for each, then the last one's length."""
        assert isinstance(self._source, IndexedSource)
        told = time.monotonic()
        for _ in range(steps):
            self._source.end_epoch()
            if time.monotonic() - told > _PROGRESS_S:
                told = time.monotonic()
                self._channel.send({"progress": 1})
        return {"length": self._source.length()}

    def serve(self) -> NoReturn:
        """Fork and reap until the daemon says to stop or is gone.

        A child that is the zygote of a later epoch goes on in this very loop: calls within calls would be as deep as
        there were epochs, and Python allows a thousand.
        """
        with ending():
            while True:
                self._serve()
        raise AssertionError("unreachable")

    def _serve(self) -> None:
        """Serve one epoch; returns in the zygote of a later one."""
        gc.collect()
        gc.freeze()  # so that the workers' collector does not touch, and so copy, what they share
        wakeup = Wakeup(self._channel)
        while True:
            self._reap()
            if wakeup.wait():
                message = self._channel.receive(wait=True)
                if message is None or "quit" in message:
                    os._exit(0)
                if self._obey(message, wakeup):
                    return

    def _reap(self) -> None:
        for pid, status in ended():
            child = self._children.pop(pid, None)
            if child is not None:
                self._channel.send({child[0]: [child[1], status]})

    def _obey(self, message: Message, wakeup: Wakeup) -> bool:
        """Do what the daemon says; whether this is the zygote of a later epoch now."""
        fds = self._channel.take_fds()
        if "fork" in message:
            worker = message["fork"]
            pid = spawn_worker(self._spec, self._sent or self._source, worker, fds) if self._spawns else os.fork()
            if pid == 0:
                self._work(wakeup, worker, fds)
            self._children[pid] = ("exited", worker["number"])
            self._channel.send({"forked": [worker["number"], pid]})
        elif "next" in message:
            epoch, number, steps = message["next"]
            if self._spawns:
                assert isinstance(self._source, IndexedSource)
                pid = spawn_zygote(self._spec, self._source, epoch, steps, fds)
            else:
                pid = os.fork()
            if pid == 0:
                self._let_go(wakeup)
                self._channel = Channel(socket.socket(fileno=fds[0]))
                gc.unfreeze()
                name_process(f"enq-zygote-{epoch}")
                tell(self._channel, lambda: self.step(steps))
                return True
            self._children[pid] = ("gone", number)
            self._channel.send({"stepped": [number, pid]})
        for fd in fds:
            os.close(fd)
        return False

    def _let_go(self, wakeup: Wakeup) -> None:
        """In a forked child: give up what is the zygote's."""
        wakeup.let_go()
        self._channel.close()
        self._children.clear()

    def _work(self, wakeup: Wakeup, worker: Message, fds: list[int]) -> NoReturn:
        """In a forked child: be a worker."""
        with ending():
            self._let_go(wakeup)
            work(self._source, worker, fds, Worker if self._sent is None else SentWorker)
        raise AssertionError("unreachable")


def tell(channel: Channel, prepare: Any) -> None:
    """Run the user's code that a zygote exists for, and say how that went."""
    try:
        ready = prepare()
    except (LoadError, SourceError) as error:
        broken = {"message": shorten(str(error)), "traceback": shorten(error.traceback)}
    except BaseException as error:
        text = traceback.format_exc()
        kind = str(error) if isinstance(error, EnqueuedError) else f"{type(error).__name__}: {error}"
        broken = {"message": shorten(kind), "traceback": shorten(text)}
    else:
        channel.send({"ready": ready})
        return
    channel.send({"broken": broken})
    os._exit(0)


def follow(spec: SourceSpec, source: IndexedSource, epoch: int, steps: int, fd: int) -> NoReturn:
    """Be the zygote of an epoch in a fresh interpreter."""
    channel = Channel(socket.socket(fileno=fd))
    name_process(f"enq-zygote-{epoch}")
    source.enter(epoch - steps)
    zygote = Zygote(channel, spec, "spawn")
    zygote.take(source)
    tell(channel, lambda: zygote.step(steps))
    zygote.serve()


def lead(channel: Channel, lifeline: int, user: Any = None) -> None:
    """Be the first zygote of a pool and lead its process group; `user` is the source's object, if it is here already.

    Returns when whoever began the pool has let go of it.
    """
    hang_on(lifeline)
    adopt_orphans()
    name_process("enq-zygote")
    if channel.receive(wait=True) is None:
        return
    boot, *files = channel.take_fds()
    with open(boot, "rb") as file:
        plain = msgpack.unpackb(file.read())
    sent = plain.get("sent")
    if sent is not None:
        sent = Sent(**sent, files=files, user=user)
    zygote = Zygote(channel, SourceSpec.from_plain(plain["spec"]), plain["start_method"], sent)
    tell(channel, zygote.load)
    zygote.serve()


def main(arguments: list[str]) -> None:
    """Entry point of ``python -m enqueued.pool.zygote CHANNEL LIFELINE``; the descriptors are inherited."""
    channel, lifeline = map(int, arguments)
    os.set_inheritable(channel, False)
    os.set_inheritable(lifeline, False)
    lead(Channel(socket.socket(fileno=channel)), lifeline)


if __name__ == "__main__":
    main(sys.argv[1:])
