"""Workers in fresh interpreters, for images that must not be forked: the source's state travels by pickle."""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

from enqueued.errors import LoadError
from enqueued.pool.channel import Message
from enqueued.pool.lanes import work
from enqueued.pool.sent import Sent, SentWorker
from enqueued.source.generators import watch_generators
from enqueued.source.indexed import IndexedSource
from enqueued.source.load import build, indexed_source
from enqueued.source.spec import SourceSpec
from enqueued.source.streamed import StreamedSource


def find_unpicklable(spec: SourceSpec, source: IndexedSource, hazard: str | None) -> None:
    """Raises `LoadError` that names what cannot travel to a fresh interpreter, before any worker needs it."""
    try:
        pickle.dumps(source.user)
        return
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    why = f"it cannot be forked, because {hazard}" if hazard else "--start-method spawn was asked for"
    name = next((name for name, value in vars(source.user).items() if not _picklable(value)), None)
    what = f"its attribute {name!r} ({type(vars(source.user)[name]).__name__})" if name else "the object"
    raise LoadError(
        f"{spec.target} must be pickled for its workers ({why}), and {what} cannot be: {reason}. "
        f"Open it in worker_init(self, info), or serve with --start-method zygote."
    )


def _picklable(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


def spawn_worker(
    spec: SourceSpec, source: IndexedSource | StreamedSource | Sent, worker: Message, fds: list[int]
) -> int:
    """Start a worker in a fresh interpreter; its pid. A streamed source has no state yet and is built there anew."""
    return _spawn("worker", spec, source, worker, fds)


def spawn_zygote(spec: SourceSpec, source: IndexedSource, epoch: int, steps: int, fds: list[int]) -> int:
    """Start the zygote of an epoch in a fresh interpreter, with the source as it was so many epochs before; its pid."""
    return _spawn("zygote", spec, source, {"epoch": epoch, "steps": steps}, fds)


def _spawn(
    kind: str, spec: SourceSpec, source: IndexedSource | StreamedSource | Sent, role: Message, fds: list[int]
) -> int:
    state = source.user if isinstance(source, IndexedSource) else None
    indexed = isinstance(source, IndexedSource)
    sent = None
    if isinstance(source, Sent):
        sent = source.to_plain()
        fds = [*fds, *source.files]
    memo = os.memfd_create("enqueued-state", os.MFD_CLOEXEC)
    try:
        with open(memo, "wb", closefd=False) as file:
            pickle.dump((spec, role, sys.path, indexed, sent), file)
            pickle.dump(state, file)
        os.lseek(memo, 0, os.SEEK_SET)
        for fd in (memo, *fds):
            os.set_inheritable(fd, True)
        command = [sys.executable, "-P", "-m", "enqueued.pool.spawned", kind, str(memo), *map(str, fds)]
        return os.posix_spawn(sys.executable, command, os.environ)
    finally:
        os.close(memo)
        for fd in fds:
            os.set_inheritable(fd, False)


def main(arguments: list[str]) -> None:
    """Entry point of ``python -m enqueued.pool.spawned KIND STATE FD...``; the descriptors are inherited."""
    from enqueued.pool.zygote import follow  # late: it imports this module

    kind, state, *fds = arguments[0], *map(int, arguments[1:])
    for fd in fds:
        os.set_inheritable(fd, False)
    with open(state, "rb") as file:
        spec, role, path, indexed, sent = pickle.load(file)
        sys.path[:] = path
        if sent is not None:
            work(Sent(**sent, files=fds[2:]).build(spec), role, fds[:2], SentWorker)
            return
        if indexed:
            watch_generators()  # before the user's module is imported, by unpickling
        source = indexed_source(spec, pickle.load(file)) if indexed else build(spec)
    if kind == "worker":
        work(source, role, fds)
    elif isinstance(source, IndexedSource):
        follow(spec, source, role["epoch"], role["steps"], fds[0])


if __name__ == "__main__":
    main(sys.argv[1:])
