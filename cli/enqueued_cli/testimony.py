"""What a witness does: a fresh interpreter that loads a source once and makes batches in forked workers, one by one.

It is what a zygote is to the daemon, with the caller in charge of every make. Where the image must not be forked, it
is the worker itself, once, and ends. Messages are answered in turn::

    to it    enter [epoch, replica, worker]     make [epoch, index, keep]                       leave
    from it  ready facts    entered length      made size, with the batch if kept    ended      left wait-status
             progress, on a long way to an epoch; broken error, in place of any answer
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from enqueued.codec.encode import encode
from enqueued.errors import EnqueuedError, LoadError
from enqueued.pool.channel import Channel, Message, shorten
from enqueued.pool.lifeline import hang_on, name_process
from enqueued.source.failure import source_error
from enqueued.source.files import open_regular_files
from enqueued.source.image import fork_hazard
from enqueued.source.indexed import IndexedSource
from enqueued.source.load import build, run_worker_init
from enqueued.source.seeding import OPENING, WorkerInfo, enter, seed_generators
from enqueued.source.spec import SourceSpec
from enqueued.source.streamed import EndOfEpoch, StreamedSource

_PROGRESS_S = 1.0


class Testimony:
    """The loaded source, and what is asked about it. `threads` and `start_method` are as the stream's settings."""

    def __init__(self, channel: Channel, spec: SourceSpec, *, threads: bool, start_method: str, workers: int) -> None:
        self._channel = channel
        self._spec = spec
        self._threads = threads
        self._start_method = start_method
        self._workers = workers
        self._forks = True
        self._source: IndexedSource | StreamedSource

    def load(self) -> Message:
        """Import and construct the source; what there is to know about it."""
        before, began = open_regular_files(), time.monotonic()
        source = self._source = build(self._spec)
        load_s = time.monotonic() - began
        if isinstance(source, IndexedSource):
            source.begin()
        hazard = fork_hazard() if self._start_method == "auto" else None
        self._forks = hazard is None and self._start_method != "spawn"
        return {
            "length": source.length() if isinstance(source, IndexedSource) else None,
            "hook": isinstance(source, IndexedSource) and source.has_epoch_hook,
            "files": sorted(open_regular_files() - before),
            "forks": self._forks,
            "hazard": hazard,
            "load_s": load_s,
        }

    def serve(self) -> NoReturn:
        """Be asked until nobody is left who asks."""
        while (message := self._channel.receive(wait=True)) is not None:
            if not self._forks:
                self._work(message)
                self._channel.send({"left": 0})
                break
            pid = os.fork()
            if pid == 0:
                self._end_after(lambda: self._work(message))
            self._channel.send({"left": os.waitpid(pid, 0)[1]})
        os._exit(0)

    def _end_after(self, do: Callable[[], None]) -> NoReturn:
        """In a forked child: end without the interpreter's exit, which is the parent's."""
        code = 1
        try:
            do()
            code = 0
        finally:
            os._exit(code)

    def _work(self, message: Message) -> None:
        """Be a worker, as it is in the daemon, until told to leave."""
        faulthandler.enable()
        epoch, replica, worker = message["enter"]
        if not self._answer("entered", lambda: self._enter(epoch, replica, worker)):
            return
        while (order := self._channel.receive(wait=True)) is not None and "make" in order:
            epoch, index, keep = order["make"]
            if not self._make(epoch, index, keep=keep):
                return

    def _enter(self, epoch: int, replica: int, worker: int) -> int | None:
        """Go to an epoch, then start as a worker does; the epoch's length."""
        source = self._source
        if isinstance(source, IndexedSource):
            told = time.monotonic()
            for _ in range(epoch if source.has_epoch_hook else 0):
                source.end_epoch()
                if time.monotonic() - told > _PROGRESS_S:
                    told = time.monotonic()
                    self._channel.send({"progress": 1})
        seed = self._spec.seed
        info = WorkerInfo(worker, self._workers, replica, self._spec.replicas, seed)
        enter(info)
        run_worker_init(self._spec, source, info)
        if self._threads:
            source.seeds_globals = False  # as in the daemon, where threads share them
            seed_generators(seed, worker, OPENING)
        if isinstance(source, IndexedSource):
            return source.length()
        source.open(epoch)
        return None

    def _make(self, epoch: int, index: int, *, keep: bool) -> bool:
        """Make one batch and answer with it; whether it could be made."""
        source = self._source
        if isinstance(source, IndexedSource) and index >= source.length():
            self._channel.send({"ended": 1})
            return True
        fd = os.memfd_create("enqueued-check", os.MFD_CLOEXEC)
        try:
            return self._answer("made", lambda: self._write(epoch, index, fd if keep else None), (fd,) if keep else ())
        except EndOfEpoch:
            self._channel.send({"ended": 1})
            return True
        finally:
            os.close(fd)

    def _write(self, epoch: int, index: int, fd: int | None) -> int:
        try:
            batch = self._source.make(epoch, index)
        except EndOfEpoch:
            raise
        except BaseException as error:
            raise source_error(error, target=self._spec.target, epoch=epoch, index=index) from error
        encoded = encode(batch)
        if fd is not None:
            os.ftruncate(fd, encoded.nbytes)
            with mmap.mmap(fd, encoded.nbytes) as memory, memoryview(memory) as view:
                encoded.write_into(view)
        return encoded.nbytes

    def _answer(self, key: str, do: Callable[[], Any], fds: tuple[int, ...] = ()) -> bool:
        return answer(self._channel, key, do, fds)


def answer(channel: Channel, key: str, do: Callable[[], Any], fds: tuple[int, ...] = ()) -> bool:
    """Answer with what comes of `do`, and with `fds`, or say what broke; whether it went well."""
    try:
        result = do()
    except EndOfEpoch:
        raise
    except BaseException as error:
        text = str(error) if isinstance(error, EnqueuedError) else f"{type(error).__name__}: {error}"
        traceback = shorten(getattr(error, "traceback", ""))
        loading = isinstance(error, LoadError)
        channel.send({"broken": {"message": shorten(text), "traceback": traceback, "loading": loading}})
        return False
    channel.send({key: result}, fds)
    return True


def main(arguments: list[str]) -> None:
    """Entry point of ``python -m enqueued_cli.testimony CHANNEL LIFELINE``; the descriptors are inherited."""
    channel = Channel(socket.socket(fileno=int(arguments[0])))
    hang_on(int(arguments[1]))
    for fd in map(int, arguments):
        os.set_inheritable(fd, False)
    name_process("enq-witness")
    plain = json.load(sys.stdin)
    testimony = Testimony(channel, SourceSpec.from_plain(plain.pop("spec")), **plain)
    if answer(channel, "ready", testimony.load):
        testimony.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
