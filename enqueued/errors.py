"""Every error that enqueued raises, in one tree.

::

    EnqueuedError
    ├── ConfigError            a setting is missing, unknown or out of bounds        exit code 2
    ├── LoadError              the source cannot be loaded                           exit code 3
    ├── AddressInUse           another daemon holds the name or the address          exit code 4
    ├── CrashLoop              workers die faster than they make batches             exit code 5
    ├── SourceError            the user's code raised while it made a batch
    │   └── BatchTypeError     what it made holds something that cannot travel (also a TypeError)
    ├── RemoteError            a worker process raised what cannot be raised here, or has died
    ├── EncodeError            the same, where the batch is encoded (also a TypeError)
    ├── ProtocolError          a peer, or a stored file, said something malformed
    ├── ClientError            a trainer cannot go on
    │   ├── Refused            the daemon answered, and said no
    │   │   └── StateMismatch  a saved state is of other data than the stream gives
    │   ├── ConnectTimeout     no daemon answered in time (also a TimeoutError)
    │   ├── BatchTimeout       no batch came in time (also a TimeoutError)
    │   ├── RankLost           no batch came in time, because other ranks are not there (also a TimeoutError)
    │   ├── ForkedClient       a client was used in a forked child
    │   └── ClosedClient       a client was used after close()
    └── OpError                an operation on a queue failed, with one of TensorFlow's codes
        ├── CancelledError 1 · UnknownError 2 · InvalidArgumentError 3 · DeadlineExceededError 4
        ├── NotFoundError 5 · AlreadyExistsError 6 · PermissionDeniedError 7 · ResourceExhaustedError 8
        ├── FailedPreconditionError 9 · AbortedError 10 · OutOfRangeError 11 · UnimplementedError 12
        └── InternalError 13 · UnavailableError 14 · DataLossError 15 · UnauthenticatedError 16

Foreign errors (zmq, msgpack, OSError) stop at the border of the part that meets them and become one of these.
A message says what happened, with which value, and what to do about it.
"""

from __future__ import annotations

import copyreg
from typing import Any, ClassVar

# The codes of `OpError`, as TensorFlow and gRPC number them (error_codes.proto).
OK = 0
CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
ABORTED = 10
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
DATA_LOSS = 15
UNAUTHENTICATED = 16


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


class RemoteError(EnqueuedError):
    """A worker process of this program raised what cannot be raised here as it was, or has died.

    The message names the original type and text; `traceback` is the worker's own, as text, or empty after a death.
    """

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


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


class OpError(EnqueuedError):
    """An operation on a queue failed; its subclasses are those of `tf.errors`, one for each code.

    `node_def` and `op` are what the operation was, or None; `error_code` is the number, which a subclass knows by
    itself. Arguments and attributes are those of TensorFlow 1.15, framework/errors_impl.py.
    """

    _code: ClassVar[int] = UNKNOWN

    def __init__(self, node_def: Any, op: Any, message: str, error_code: int | None = None) -> None:
        super().__init__(message)
        self.node_def = node_def
        self.op = op
        self.message = message
        self.error_code = self._code if error_code is None else error_code

    def __reduce__(self) -> tuple[Any, ...]:
        # without calling __init__, whose arguments a subclass may have changed
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined] # not in the stubs


class CancelledError(OpError):
    """The operation was given up, such as an enqueue when its queue was closed."""

    _code = CANCELLED


class UnknownError(OpError):
    """Nobody knows what went wrong."""

    _code = UNKNOWN


class InvalidArgumentError(OpError):
    """The operation was given something that it cannot take."""

    _code = INVALID_ARGUMENT


class DeadlineExceededError(OpError):
    """The operation did not end in time."""

    _code = DEADLINE_EXCEEDED


class NotFoundError(OpError):
    """What the operation needs, such as a file, is not there."""

    _code = NOT_FOUND


class AlreadyExistsError(OpError):
    """What the operation was to make is there already."""

    _code = ALREADY_EXISTS


class PermissionDeniedError(OpError):
    """The caller may not do this."""

    _code = PERMISSION_DENIED


class ResourceExhaustedError(OpError):
    """Memory, a quota or space on a disk is used up."""

    _code = RESOURCE_EXHAUSTED


class FailedPreconditionError(OpError):
    """The system is not in a state in which the operation can run."""

    _code = FAILED_PRECONDITION


class AbortedError(OpError):
    """The operation was given up because another one was in its way."""

    _code = ABORTED


class OutOfRangeError(OpError):
    """The input is at its end: a closed queue has no more elements."""

    _code = OUT_OF_RANGE


class UnimplementedError(OpError):
    """The operation does not exist here."""

    _code = UNIMPLEMENTED


class InternalError(OpError):
    """Something that must never be wrong is wrong."""

    _code = INTERNAL


class UnavailableError(OpError):
    """The service cannot be reached now; another try may help."""

    _code = UNAVAILABLE


class DataLossError(OpError):
    """Data are lost or damaged."""

    _code = DATA_LOSS


class UnauthenticatedError(OpError):
    """The caller did not prove who it is."""

    _code = UNAUTHENTICATED


_BY_CODE: dict[int, type[OpError]] = {kind._code: kind for kind in OpError.__subclasses__()}


def exception_type_from_error_code(error_code: int) -> type[OpError]:
    """The class for one of the codes 1 to 16. Raises KeyError for any other, as in TensorFlow."""
    return _BY_CODE[error_code]


def error_code_from_exception_type(cls: type[BaseException]) -> int:
    """The code of one of the classes of this family. Raises KeyError for any other class, as in TensorFlow."""
    for code, kind in _BY_CODE.items():
        if kind is cls:
            return code
    raise KeyError(cls)
