"""One trial of a source: load it, make batches as a worker would, and tell about them line by line."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from enqueued.codec.decode import decode
from enqueued.codec.encode import encode
from enqueued.errors import ConfigError, EnqueuedError
from enqueued.settings import StreamSettings
from enqueued.source.failure import source_error
from enqueued.source.files import open_regular_files
from enqueued.source.indexed import IndexedSource
from enqueued.source.load import build, run_worker_init
from enqueued.source.seeding import WorkerInfo, enter, leave
from enqueued.source.spec import SourceSpec
from enqueued.source.streamed import EndOfEpoch, StreamedSource
from enqueued_cli.structure import structure
from enqueued_cli.table import count, duration, rate, size


def heading(name: str, spec: SourceSpec, length: int | None, loaded_s: float, left_open: list[str]) -> list[str]:
    """What a source is, once it is loaded; `length` is None for a streamed one."""
    how_long = "forward only" if length is None else f"{count(length, 'batch')} per epoch"
    lines = [f"{name}  {spec.target}  ({spec.kind}, {how_long}), loaded in {duration(loaded_s)}"]
    if left_open:
        lines.append(
            f"  left open: {', '.join(left_open)}. Forked workers share its place in the file, and read wrong data: "
            "open it in --worker-init, or in worker_init(self, info)."
        )
    return lines


class Trial:
    """The trial of one stream; `tell` gets what there is to say."""

    def __init__(self, name: str, stream: StreamSettings, tell: Callable[[str], None]) -> None:
        self.name = name
        self.stream = stream
        self.tell = tell
        self.spec = SourceSpec(**stream.spec_fields())

    def run(self, epoch: int, first: int, batches: int, *, debug: bool = False) -> None:
        """Make `batches` from a position on. Raises LoadError and SourceError; with `debug`, after a debugger."""
        try:
            source = self._load()
            self._make(source, epoch, first, batches)
        except EnqueuedError as error:
            cause = error.__cause__
            if debug and cause is not None:
                import pdb

                self.tell(getattr(error, "traceback", "").rstrip("\n"))
                pdb.post_mortem(cause.__traceback__)
            raise
        finally:
            leave()

    def _load(self) -> IndexedSource | StreamedSource:
        before = open_regular_files()
        started = time.perf_counter()
        source = build(self.spec)
        loaded_s = time.perf_counter() - started
        length = source.length() if isinstance(source, IndexedSource) else None
        for line in heading(self.name, self.spec, length, loaded_s, sorted(open_regular_files() - before)):
            self.tell(line)
        return source

    def _enter(self, source: IndexedSource | StreamedSource, epoch: int, replica: int) -> None:
        """Go to an epoch, then start as a worker does: in the daemon there is none while epochs end."""
        if isinstance(source, IndexedSource):
            source.begin()
            for _ in range(epoch if source.has_epoch_hook else 0):
                source.end_epoch()
        replicas = self.spec.replicas
        info = WorkerInfo(id=replica, num_workers=replicas, replica=replica, replicas=replicas, seed=self.spec.seed)
        enter(info)
        run_worker_init(self.spec, source, info)
        if isinstance(source, StreamedSource):
            source.open(epoch)

    def _make(self, source: IndexedSource | StreamedSource, epoch: int, first: int, batches: int) -> None:
        start, replicas = first, self.spec.replicas
        self._enter(source, epoch, first % replicas)
        if isinstance(source, IndexedSource):
            if first >= source.length():
                raise ConfigError(
                    f"{epoch}:{first} is no position of {self.spec.target}: its epochs have "
                    f"{count(source.length(), 'batch')}, the last is {epoch}:{source.length() - 1}."
                )
            batches = min(batches, source.length() - first)
        else:
            start = first % replicas  # there is no other way to a later one
        times: list[float] = []
        encoded_bytes = 0
        for index in range(start, first + batches * replicas, replicas):
            started = time.perf_counter()
            try:
                batch = self._one(source, epoch, index)
            except EndOfEpoch:
                if index <= first:
                    raise ConfigError(f"Epoch {epoch} of {self.spec.target} ends before {epoch}:{first}.") from None
                whose = f" of replica {first % replicas}" if replicas > 1 else ""
                self.tell(f"  epoch {epoch}{whose} ends with {epoch}:{index - replicas}")
                break
            if index < first:
                continue
            encoded = encode(batch)
            times.append(time.perf_counter() - started)
            encoded_bytes = max(encoded_bytes, encoded.nbytes)
            if index == first:
                # through the encoding and back: this is what a trainer gets
                room = np.empty(encoded.nbytes, np.uint8)
                encoded.write_into(room.data)
                for line in structure(decode(room)):
                    self.tell(f"  {line}")
        self._sum_up(times, encoded_bytes, f"{epoch}:{first}")

    def _one(self, source: IndexedSource | StreamedSource, epoch: int, index: int) -> Any:
        try:
            return source.make(epoch, index)
        except (EnqueuedError, EndOfEpoch, KeyboardInterrupt):
            raise
        except BaseException as error:  # also the SystemExit of a source that calls sys.exit
            if error.__traceback__ is not None:
                error.__traceback__ = error.__traceback__.tb_next  # this function's own frame tells nothing
            raise source_error(error, target=self.spec.target, epoch=epoch, index=index) from error

    def _sum_up(self, times: list[float], encoded_bytes: int, first: str) -> None:
        typical = median(times[1:] or times)
        rest = f", then {duration(typical)} (median of {len(times) - 1})" if len(times) > 1 else ""
        self.tell(f"  {size(encoded_bytes)} encoded; {first} took {duration(times[0])}{rest}")
        workers = self.stream.worker_count
        per_second = workers / typical
        self.tell(
            f"  {count(workers, 'worker')}: {rate(per_second)} batches/s, {per_second * encoded_bytes / 1e9:.2f} GB/s, "
            "unless they slow each other down"
        )
