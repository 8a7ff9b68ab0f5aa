"""A witness: a source that was loaded in a fresh interpreter, and is asked from here for some of its batches.

The user's code runs only there. Batches come back in the project's encoding, in memory that nobody has to clean up.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from enqueued.batch import Position
from enqueued.codec.decode import Root
from enqueued.errors import EnqueuedError, LoadError, SourceError
from enqueued.pool.channel import Channel, Message
from enqueued.pool.deaths import death, death_of
from enqueued.pool.interpreter import Interpreter
from enqueued.settings import StreamSettings
from enqueued.source.spec import SourceSpec

_LOOK_MS = 200


@dataclass(frozen=True)
class Facts:
    """What a witness says of its source: an epoch's `length` in batches (None: streamed), whether it does something
    between epochs, which files it left open, whether its image may be forked and if not why, how long loading took."""

    length: int | None
    hook: bool
    files: list[str]
    forks: bool
    hazard: str | None
    load_s: float


@dataclass(frozen=True)
class _Doing:
    """What is waited for: how long it may take, which setting says so, and what failing at it is."""

    verb: str
    what: str
    limit_s: float
    setting: str
    error: type[LoadError | SourceError]


class Witness:
    """A fresh interpreter with a hash seed of its own, which ends with the block.

    Where the image must not be forked there is one for each errand, and the first one is there already.
    """

    facts: Facts

    def __init__(self, spec: SourceSpec, stream: StreamSettings, hash_seed: int) -> None:
        self._spec = spec
        self._stream = stream
        self._hash_seed = hash_seed
        self._lengths: dict[int, int] = {}
        self._interpreter: Interpreter | None = None
        self._channel: Channel

    def __enter__(self) -> Witness:
        """Load the source. Raises LoadError."""
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the process and all that it has started."""
        self._stop()

    def length(self, epoch: int) -> int:
        """How many batches an epoch of an indexed source has."""
        if not self.facts.hook:
            return self.facts.length or 0
        if epoch not in self._lengths:
            self._lengths[epoch] = self._enter(epoch, 0, 0)
            self._leave()
        return self._lengths[epoch]

    def make(
        self, told: Iterable[Position], *, before: Iterable[Position] = (), replica: int = 0, worker: int = 0
    ) -> dict[Position, Root | None]:
        """The encoded batches of `told`, made in this order by one fresh worker that makes `before` first.

        All are of one epoch, unless the source does nothing between epochs. None stands for a position that its epoch
        does not have. Raises LoadError and SourceError, also when the process ends or takes too long.
        """
        told, before = list(told), list(before)
        epoch = told[0][0] if self.facts.hook or self.facts.length is None else 0
        self._enter(epoch, replica, worker)
        for position in before:
            self._make(position, keep=False)
        made = {position: self._make(position, keep=True) for position in told}
        self._leave()
        return made

    def _start(self) -> None:
        threads = self._stream.pool == "thread"
        plain = {"threads": threads, "start_method": self._stream.start_method, "workers": self._workers}
        boot = json.dumps({"spec": self._spec.to_plain(), **plain}).encode()
        with open(os.memfd_create("enqueued-boot", os.MFD_CLOEXEC), "w+b", 0) as stdin:
            stdin.write(boot)
            stdin.seek(0)
            self._interpreter = Interpreter(
                "enqueued_cli.testimony",
                stdin=stdin,
                stdout=sys.stderr.fileno(),
                environ={"PYTHONHASHSEED": str(self._hash_seed)},
            )
        self._channel = self._interpreter.channel
        target, limit_s = self._spec.target, self._stream.load_timeout
        loading = _Doing("loaded", target, limit_s, "--load-timeout", LoadError)
        self.facts = Facts(**self._answer(loading)["ready"])

    @property
    def _workers(self) -> int:
        """How many there would be; at least two of equal ones, so that either can make a batch."""
        return max(2, self._stream.worker_count) if self._stream.kind != "generator" else self._stream.replicas

    def _stop(self) -> None:
        interpreter, self._interpreter = self._interpreter, None
        if interpreter is not None:
            interpreter.kill()
            interpreter.channel.close()
            interpreter.cut()

    def _enter(self, epoch: int, replica: int, worker: int) -> int:
        if self._interpreter is None:
            self._start()
        what, limit_s = f"epoch {epoch} of {self._spec.target}", self._stream.load_timeout
        opening = _Doing("opened", what, limit_s, "--load-timeout", SourceError)
        answer = self._ask({"enter": [epoch, replica, worker]}, opening)
        return answer["entered"] or 0

    def _make(self, position: Position, *, keep: bool) -> Root | None:
        what = f"{position[0]}:{position[1]} of {self._spec.target}"
        making = _Doing("made", what, self._stream.make_timeout, "--make-timeout", SourceError)
        answer = self._ask({"make": [*position, keep]}, making)
        if "ended" in answer or not keep:
            return None
        (fd,) = self._channel.take_fds()
        with contextlib.closing(os.fdopen(fd, "rb")) as file:
            return np.frombuffer(mmap.mmap(file.fileno(), answer["made"], access=mmap.ACCESS_READ), np.uint8)

    def _leave(self) -> None:
        leaving = _Doing("finished", self._spec.target, self._stream.load_timeout, "--load-timeout", SourceError)
        self._ask({"leave": 1}, leaving, last=True)
        if not self.facts.forks:
            self._stop()

    # -- asking and answering -------------------------------------------------------------------------------------

    def _ask(self, message: Message, doing: _Doing, *, last: bool = False) -> Message:
        with contextlib.suppress(OSError):  # that it is gone is noticed below
            self._channel.send(message)
        return self._answer(doing, last=last)

    def _answer(self, doing: _Doing, *, last: bool = False) -> Message:
        """The next answer. Raises what the user's code raised; also when there is none, or none in time."""
        began = time.monotonic()
        while True:
            message = self._receive(doing, began)
            if "progress" in message:
                began = time.monotonic()
                continue
            if "broken" in message:
                raise _error(message["broken"])
            if "left" in message and not last:
                raise doing.error(f"the process that {doing.verb} {doing.what} {death_of(message['left'])}")
            return message

    def _receive(self, doing: _Doing, began: float) -> Message:
        assert self._interpreter is not None
        process = self._interpreter.process
        poller = select.poll()
        poller.register(self._channel, select.POLLIN)
        while not poller.poll(_LOOK_MS):
            # not only its end of file: a process that the user's code has started may hold the other end too
            if process.poll() is not None and not poller.poll(0):
                break
            if doing.limit_s and time.monotonic() - began > doing.limit_s:
                limit = f"{doing.limit_s:g} s (see {doing.setting})"
                raise doing.error(f"{doing.what} was not {doing.verb} within {limit}")
        else:
            message = self._channel.receive(wait=True)
            if message is not None:
                return message
        code = process.wait()
        how = death(abs(code), signalled=code < 0)
        raise doing.error(f"the process that {doing.verb} {doing.what} {how}")


def _error(broken: Message) -> EnqueuedError:
    if broken["loading"]:
        return LoadError(broken["message"], broken["traceback"])
    return SourceError(broken["message"], traceback=broken["traceback"])
