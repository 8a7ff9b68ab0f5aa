"""Sources that the calling program sent to its pool: the user's own object, as it is there."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from enqueued.codec.encode import Encoded, encode
from enqueued.errors import EncodeError, LoadError
from enqueued.pool.channel import Message, shorten
from enqueued.pool.edition import read
from enqueued.pool.parcel import Parcel
from enqueued.pool.program import Program
from enqueued.pool.worker import Worker
from enqueued.source.failure import load_error
from enqueued.source.indexed import IndexedSource
from enqueued.source.load import run_worker_init
from enqueued.source.permutation import ShuffledOrder
from enqueued.source.seeding import at, get_worker_info
from enqueued.source.spec import SourceSpec
from enqueued.source.streamed import EndOfEpoch, StreamedSource

_SCALARS = frozenset({int, float, bool, str, bytes, type(None)})
_MOST_RAISED = 12_000
"""Bytes of a pickled exception that fit a message, beside its text and its traceback."""
_MOST_BYTES = 64 << 20
"""Larger ones are told, and not sent."""


class SentSequence(IndexedSource):
    """A sequence of the calling program, which counts it and ends its epochs; it is sent anew when it has changed."""

    def __init__(self, spec: SourceSpec, user: Any, order_seed: int | None) -> None:
        super().__init__(spec, user)
        self._order = ShuffledOrder(order_seed) if order_seed is not None else None
        self.counts: dict[int, int] = {}
        """How many batches an epoch has, if it is shuffled."""

    @property
    def has_epoch_hook(self) -> bool:
        return False

    def _units(self, epoch: int) -> int:
        return self.counts[epoch]


class SentIterator(StreamedSource):
    """An iterator of the calling program, of which each worker has its own copy, and random numbers of its own."""

    def __init__(self, spec: SourceSpec, user: Any) -> None:
        super().__init__(spec, user, lambda: user, one_epoch=True)

    def make(self, epoch: int, index: int) -> Any:
        iterator: Iterator[Any] | None = self._iterator
        if iterator is None:
            raise EndOfEpoch
        at(self.spec.seed, epoch, index)
        try:
            return next(iterator)
        except StopIteration:
            raise EndOfEpoch from None
        except BaseException:
            self._iterator = None  # what it would give after that is not asked for
            raise

    def _seed(self, epoch: int, index: int) -> None:
        """Once, before its first batch: with `seed` + worker."""
        at(self.spec.seed, epoch, index)
        info = get_worker_info()
        number = self.spec.seed + (info.replica if info is not None else 0)
        random.seed(number)
        sys.modules["numpy.random"].seed(number % (1 << 32))
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.manual_seed(number)


@dataclass
class Sent:
    """A source that was sent here; `files` are the descriptors of its edition, and stay open."""

    program: dict[str, Any]
    order_seed: int | None
    files: list[int] = field(default_factory=list)
    user: Any = field(default=None, repr=False)
    """The object itself, in a process that was forked from the calling program."""

    def to_plain(self) -> dict[str, Any]:
        """Everything but the object, as plain data."""
        return {"program": self.program, "order_seed": self.order_seed}

    def build(self, spec: SourceSpec) -> SentSequence | SentIterator:
        """The source. Raises LoadError with the user's traceback when it cannot be unpickled."""
        user = self.user
        if self.files:
            try:
                Program(**self.program).enter()
                user = read(self.files)
            except BaseException as error:
                raise load_error(f"Unpickling {spec.target} in its pool", error) from error
        if spec.kind == "generator":
            return SentIterator(spec, user)
        return SentSequence(spec, user, self.order_seed)


class SentWorker(Worker):
    """A worker of the calling program's own pool: batches travel as they are, and so do exceptions."""

    keeps_canaries = False

    @staticmethod
    def _encode(batch: Any) -> Encoded | Parcel:
        """Plain batches are encoded, in a tenth of the time that pickling takes; all others are packed as they are."""
        if is_plain(batch):
            with contextlib.suppress(EncodeError):
                return encode(batch)
        return Parcel(batch)

    def _obey(self, message: Message | None) -> None:
        if message is not None and "counts" in message:
            assert isinstance(self._source, SentSequence)
            self._source.counts.update(message["counts"])
        if message is not None and "renew" in message:
            try:
                renew(self._source, self._channel.take_fds())
            except LoadError as error:
                told = {"message": shorten(str(error)), "traceback": shorten(error.traceback)}
                self._channel.send({"broken": told})
        super()._obey(message)

    def _failure(self, error: BaseException, epoch: int, index: int) -> Message:
        failure = super()._failure(error, epoch, index)
        raised = pack_exception(error)
        return failure if raised is None else {**failure, "raised": raised}

    def _send_failure(self, epoch: int, index: int, failure: Message) -> None:
        """An exception that does not fit a message, as one that holds the document it is about, goes beside it."""
        raised = failure.get("raised", b"")
        if len(raised) <= _MOST_RAISED:
            super()._send_failure(epoch, index, failure)
            return
        with open(os.memfd_create("enqueued-exception", os.MFD_CLOEXEC), "wb") as file:
            file.write(raised)
            file.flush()
            self._channel.send({"failed": [epoch, index, {**failure, "raised": b""}]}, (file.fileno(),))


def is_plain(batch: Any) -> bool:
    """Whether a batch is the same again after it was encoded: arrays in the usual containers."""
    kind = type(batch)
    if kind is np.ndarray:
        return not (batch.dtype.hasobject or batch.flags.fnc)
    if kind is tuple or kind is list:
        return all(map(is_plain, batch))
    if kind is dict:
        return all(type(key) is str for key in batch) and all(map(is_plain, batch.values()))
    return kind in _SCALARS


def renew(source: Any, files: list[int]) -> None:
    """Go on with the user's object as it is now. Raises LoadError when it cannot be unpickled, or not be opened."""
    try:
        source.user = read(files)
    except BaseException as error:
        raise load_error(f"Unpickling {source.spec.target} in a worker", error) from error
    finally:
        for fd in files:
            os.close(fd)
    info = get_worker_info()
    if info is not None:
        run_worker_init(source.spec, source, info)


def pack_exception(error: BaseException) -> bytes | None:
    """An exception as bytes from which it was made again here, as a trial; None when that cannot be."""
    for way in (lambda: error, lambda: _Parts(type(error), error.args, vars(error))):
        try:
            data = pickle.dumps(way())
            if len(data) <= _MOST_BYTES and type(unpack_exception(data)) is type(error):
                return data
        except BaseException:  # whatever the user's own __reduce__ or __init__ raises
            continue
    return None


def unpack_exception(data: bytes) -> BaseException:
    """The exception that was packed. Raises whatever unpickling it raises."""
    found = pickle.loads(data)
    if isinstance(found, _Parts):
        found = found.join()
    if not isinstance(found, BaseException):
        raise TypeError(f"{type(found).__name__} is no exception")
    return found


class _Parts:
    """An exception whose `__init__` takes other arguments than `args`, so that it cannot be pickled as usual."""

    def __init__(self, kind: type[BaseException], args: tuple[Any, ...], fields: dict[str, Any]) -> None:
        self.kind = kind
        self.args = args
        self.fields = copy.copy(fields)

    def join(self) -> BaseException:
        error = self.kind.__new__(self.kind, *self.args)
        error.args = self.args
        vars(error).update(self.fields)
        return error
