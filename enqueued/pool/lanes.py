"""How a process becomes a worker, with one lane or with several."""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue

from enqueued.arena.segment import Slot
from enqueued.batch import Position
from enqueued.errors import LoadError
from enqueued.pool.canary import CANARY
from enqueued.pool.channel import Channel, Message, shorten
from enqueued.pool.children import flush_output
from enqueued.pool.lifeline import name_process
from enqueued.pool.page import Page
from enqueued.pool.worker import Stopped, Worker
from enqueued.source.indexed import IndexedSource
from enqueued.source.load import run_worker_init
from enqueued.source.seeding import OPENING, WorkerInfo, enter, seed_generators
from enqueued.source.streamed import StreamedSource


class ThreadedWorker(Worker):
    """One worker with several lanes, for sources that release the GIL: one thread reads orders, the others make."""

    def __init__(
        self,
        source: IndexedSource | StreamedSource,
        number: int,
        name: str,
        channel: Channel,
        page: Page,
        *,
        info: WorkerInfo,
        lanes: int,
    ) -> None:
        super().__init__(source, number, name, channel, page)
        self._source.seeds_globals = False  # they are shared by all threads, so no order could be promised
        seed_generators(info.seed, number, OPENING)  # but no two workers begin alike
        self._info = info
        self._lanes = lanes
        self._queue: SimpleQueue[Position] = SimpleQueue()
        self._lock = threading.Condition()

    def run(self) -> None:
        for lane in range(self._lanes):
            threading.Thread(target=self._make_for_ever, name=f"lane {lane}", daemon=True).start()
        try:
            while True:
                message = self._channel.receive(wait=True)
                with self._lock:
                    self._obey(message)
                    self._lock.notify_all()
        except Stopped:
            return

    def _make_for_ever(self) -> None:
        enter(self._info, whole_process=False)
        with self._lock:
            lane = self._enter_lane()
        while True:
            self._make(lane, *self._queue.get())
            self._page.rest(lane)
            with self._lock:
                self._tell()

    def _order(self, epoch: int, indices: range) -> None:
        for index in indices:
            self._queue.put((epoch, index))

    def _order_canary(self, epoch: int) -> None:
        self._queue.put((epoch, CANARY))

    def _take(self, nbytes: int) -> tuple[Slot, memoryview] | None:
        with self._lock:
            return self._arena.take(nbytes)

    def _give(self, slot: Slot) -> None:
        with self._lock:
            super()._give(slot)

    def _wait_for_memory(self, nbytes: int, epoch: int, index: int) -> tuple[Slot, memoryview]:
        asked = -1
        with self._lock:
            while (found := self._arena.take(nbytes)) is None:
                if asked != self._grants:  # what was granted since may have gone to another lane
                    asked = self._grants
                    self._channel.send({"need": [epoch, index, self._arena.missing(nbytes)]})
                self._lock.wait()
            return found


def work(source: IndexedSource | StreamedSource, worker: Message, fds: list[int], kind: type[Worker] = Worker) -> None:
    """Be worker `worker` until told to stop: entered in a forked child, or in a fresh interpreter."""
    number, seat, lanes = worker["number"], worker["seat"], worker["lanes"]
    channel, page = Channel(socket.socket(fileno=fds[0])), Page(fds[1], lanes)
    os.close(fds[1])
    name = f"worker {seat} (pid {os.getpid()})"
    name_process(f"enq-worker-{seat}")
    if sys.stderr is not None:
        faulthandler.enable()
    info = WorkerInfo(
        id=seat,
        num_workers=worker["workers"],
        replica=seat if isinstance(source, StreamedSource) else 0,
        replicas=source.spec.replicas,
        seed=source.spec.seed,
    )
    enter(info)
    import numpy.random  # noqa: F401 - a fresh interpreter must have it before the first position is seeded

    try:
        run_worker_init(source.spec, source, info)
    except LoadError as error:
        channel.send({"broken": {"message": shorten(str(error)), "traceback": shorten(error.traceback)}})
        return
    run: Callable[[], None]
    if worker["threads"]:
        run = ThreadedWorker(source, number, name, channel, page, info=info, lanes=lanes).run
    else:
        run = kind(source, number, name, channel, page).run
    channel.send({"up": os.getpid()})
    run()
    flush_output()
