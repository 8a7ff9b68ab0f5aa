"""Every error that enqueued raises, in one tree.

::

    EnqueuedError
    ├── ConfigError            a setting is missing, unknown or out of bounds        exit code 2
    ├── LoadError              the source cannot be loaded                           exit code 3
    ├── AddressInUse           another daemon holds the name or the address          exit code 4
    ├── CrashLoop              workers die faster than they make batches             exit code 5
    ├── SourceError            the user's code raised while it made a batch
    │   └── BatchTypeError     what it made holds something that cannot travel (also a TypeError)
    ├── EncodeError            the same, where the batch is encoded (also a TypeError)
    ├── ProtocolError          a peer, or a stored file, said something malformed
    └── ClientError            a trainer cannot go on
        ├── Refused            the daemon answered, and said no
        │   └── StateMismatch  a saved state is of other data than the stream gives
        ├── ConnectTimeout     no daemon answered in time (also a TimeoutError)
        ├── BatchTimeout       no batch came in time (also a TimeoutError)
        ├── RankLost           no batch came in time, because other ranks are not there (also a TimeoutError)
        ├── ForkedClient       a client was used in a forked child
        └── ClosedClient       a client was used after close()

Foreign errors (zmq, msgpack, OSError) stop at the border of the part that meets them and become one of these.
A message says what happened, with which value, and what to do about it.
"""

from __future__ import annotations


class EnqueuedError(Exception):
    """Base of every error that enqueued raises on purpose."""

    exit_code = 1


class ConfigError(EnqueuedError):
    """A setting is missing, unknown or out of bounds."""

    exit_code = 2


class LoadError(EnqueuedError):
    """The source cannot be loaded; `traceback` is the user's own, or empty when no user code was reached."""

    exit_code = 3

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class AddressInUse(EnqueuedError):
    """Another daemon holds the name or the address."""

    exit_code = 4


class CrashLoop(EnqueuedError):
    """Workers die faster than they make batches."""

    exit_code = 5


class SourceError(EnqueuedError):
    """The user's code raised while it made the batch at one position.

    `epoch` and `index` are that position, `worker` is who ran it, `traceback` is the user's own, as text.
    """

    def __init__(
        self, message: str, *, epoch: int = -1, index: int = -1, worker: str = "", traceback: str = ""
    ) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.index = index
        self.worker = worker
        self.traceback = traceback


class BatchTypeError(SourceError, TypeError):
    """The batch at one position holds something that cannot travel; the message names its path."""


class EncodeError(EnqueuedError, TypeError):
    """A batch holds something that cannot travel; the message names its path, such as ``batch["x"][1]``."""


class ProtocolError(EnqueuedError):
    """A peer, or a stored file, said something malformed."""


class ClientError(EnqueuedError):
    """A trainer cannot go on."""


class Refused(ClientError):
    """The daemon answered, and said no."""


class StateMismatch(Refused):
    """A saved state is of other data than the stream gives; the message names each difference."""


class ConnectTimeout(ClientError, TimeoutError):
    """No daemon answered within `connect_timeout`."""


class BatchTimeout(ClientError, TimeoutError):
    """No batch came within `batch_timeout`."""


class RankLost(ClientError, TimeoutError):
    """No batch came within `batch_timeout`, because `ranks` of the group are not there."""

    def __init__(self, message: str, *, ranks: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.ranks = ranks


class ForkedClient(ClientError):
    """A client was used in a forked child: sockets and slots belong to the process that opened them."""


class ClosedClient(ClientError):
    """A client was used after `close()`."""
