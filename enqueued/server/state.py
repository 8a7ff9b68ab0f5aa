"""The state file: where named groups stand, so that a daemon that starts again goes on there.

A file is one msgpack map, ``{"enqueued-state": 1, "crc": ..., "payload": ...}``: the payload is the plain data as
msgpack, and ``crc`` the CRC-32 of its bytes. It is replaced whole, by a rename, so that a crash at any moment leaves
either what was there or what was to come.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import stat
import threading
import zlib
from collections import deque
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

import msgpack

from enqueued.enqueuer.coordinator import Coordinator
from enqueued.errors import ConfigError, ProtocolError

log = logging.getLogger("enqueued.server")

_VERSION = 1
_MAGIC = "enqueued-state"
_MOST_BYTES = 64 << 20
_INTERVAL_S = 1.0
_PATIENCE_S = 2.0
"""How long `close` waits for the thread, which a disk may hold up for any time."""


def default_path(name: str, socket_path: str, environ: Mapping[str, str]) -> str:
    """Where the daemon `name` keeps its state if nobody says: in systemd's $STATE_DIRECTORY, else beside its socket."""
    folders = [folder for folder in environ.get("STATE_DIRECTORY", "").split(":") if folder]
    if folders:
        return os.path.join(folders[0], name + ".state")
    return socket_path.removesuffix(".sock") + ".state"


def encode(plain: dict[str, Any]) -> bytes:
    """The bytes of a state file; `plain` holds what msgpack knows, and tuples come back as lists."""
    payload = _pack(plain)
    return _pack({_MAGIC: _VERSION, "crc": zlib.crc32(payload), "payload": payload})


def decode(content: bytes) -> dict[str, Any]:
    """The plain data of a state file. Raises `ProtocolError` with the reason why this is none that can be used."""
    envelope = _unpack(content)
    if not isinstance(envelope, dict) or _MAGIC not in envelope:
        raise ProtocolError("it is no state file of enqueued")
    if envelope[_MAGIC] != _VERSION:
        raise ProtocolError(f"it has format {envelope[_MAGIC]!r}, and this version reads format {_VERSION}")
    payload = envelope.get("payload")
    if not isinstance(payload, bytes) or envelope.get("crc") != zlib.crc32(payload):
        raise ProtocolError("its checksum is wrong")
    plain = _unpack(payload)
    if not isinstance(plain, dict):
        raise ProtocolError("it holds no map")
    return plain


class StateFile:
    """Keeps plain data on disk: written whole, by a thread of its own, at most once a second.

    One thread uses it (the daemon's loop), and neither `offer` nor `written` makes it wait for the disk.
    `failures` counts the writes that did not reach the disk.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.failures = 0
        self._last = float("-inf")
        self._idle = threading.Event()
        self._idle.set()
        self._jobs: SimpleQueue[tuple[bytes, Any] | None] = SimpleQueue()
        self._news: deque[Any] = deque(maxlen=1)
        self._told: set[int | None] = set()
        # a disk that does not answer must not keep the process from ending
        self._coordinator = Coordinator()
        self._thread = threading.Thread(target=self._work, name="enqueued-state", daemon=True)
        self._coordinator.register_thread(self._thread)
        self._thread.start()

    def load(self) -> dict[str, Any]:
        """What was stored; empty when there is nothing, or nothing that can be used.

        A file that is damaged, of something else or of a newer version is put aside as ``PATH.bad``, with a warning.
        What a crash left half-written is removed. Raises `ConfigError` when the file is there and cannot be opened,
        because it would be overwritten.
        """
        self._remove_leftovers()
        try:
            return decode(_read(self.path))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError(
                f"The state file {self.path} cannot be read: {error.strerror}. Give another one with --state-file."
            ) from None
        except ProtocolError as error:
            self._put_aside(str(error))
            return {}

    def offer(self, plain: dict[str, Any], now: float, tag: Any = None) -> bool:
        """Hand a state over for writing; `now` is a monotonic time in seconds.

        False, and nothing is done, while the last write began less than a second ago or is still under way.
        """
        if not self._idle.is_set() or now - self._last < _INTERVAL_S:
            return False
        content = encode(plain)
        self._last = now
        self._idle.clear()
        self._jobs.put((content, tag))
        return True

    def written(self) -> Any | None:
        """The tag of the last write that is durable, once; None when there is no news."""
        try:
            return self._news.pop()
        except IndexError:
            return None

    def close(self, plain: dict[str, Any] | None = None) -> None:
        """Write the last state, if one is given, and end the thread; waits for the disk for 2 s at most."""
        if plain is not None:
            self._jobs.put((encode(plain), None))
        self._jobs.put(None)
        self._coordinator.request_stop()
        try:
            self._coordinator.join(stop_grace_period_secs=_PATIENCE_S, ignore_live_threads=True)
        except Exception:
            log.exception("The thread that writes the state file %s has failed", self.path)
        if self._thread.is_alive():
            log.warning("The state file %s is not written after %g s: is its disk there?", self.path, _PATIENCE_S)

    # -- the thread ---------------------------------------------------------------------------------------------

    def _work(self) -> None:
        with self._coordinator.stop_on_exception():
            while (job := self._jobs.get()) is not None:
                content, tag = job
                try:
                    _write(self.path, content)
                except OSError as error:
                    self._fail(error)
                else:
                    self._told.clear()
                    if tag is not None:
                        self._news.append(tag)
                finally:
                    self._idle.set()

    def _fail(self, error: OSError) -> None:
        self.failures += 1
        if error.errno not in self._told:  # a full disk is tried every second, and told once
            self._told.add(error.errno)
            log.error(
                "The state file %s cannot be written: %s. Until it can, named groups that a crash ends go on from the "
                "last state that was.",
                self.path,
                error.strerror or error,
            )

    # -- what is found ------------------------------------------------------------------------------------------

    def _remove_leftovers(self) -> None:
        folder, name = os.path.split(self.path)
        ours = re.compile(re.escape(name) + r"\.[0-9a-f]{8}\.tmp")
        with contextlib.suppress(OSError):  # what cannot be removed does no harm
            for leftover in filter(ours.fullmatch, os.listdir(folder or ".")):
                os.unlink(os.path.join(folder, leftover))

    def _put_aside(self, reason: str) -> None:
        bad = self.path + ".bad"
        try:
            os.replace(self.path, bad)
            where = f"it is now {bad}"
        except OSError as error:
            where = f"and it cannot be renamed to {bad}: {error.strerror}"
        log.warning("The state file %s cannot be used: %s; %s. Named groups begin anew.", self.path, reason, where)


def _read(path: str) -> bytes:
    # a pipe that lies there must not make the daemon wait
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ProtocolError("it is no regular file")
        with open(fd, "rb", closefd=False) as file:
            content = file.read(_MOST_BYTES + 1)
    finally:
        os.close(fd)
    if len(content) > _MOST_BYTES:
        raise ProtocolError("it is no state file of enqueued")
    return content


def _write(path: str, content: bytes) -> None:
    """Put a file in place so that it survives a power cut. Raises `OSError`, and then nothing is said to be done."""
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(fd, rest) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except OSError:
        # never the same file again: after a failed fsync the kernel may call its lost pages clean
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(os.path.dirname(path) or ".")


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems have no such call for folders
            raise
    finally:
        os.close(fd)


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return packed


def _unpack(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, unicode_errors="surrogatepass", strict_map_key=False)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise ProtocolError(f"it is damaged ({type(error).__name__})") from None
