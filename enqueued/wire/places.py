"""Where daemon and client of one host meet: the same rule on both sides (DESIGN: "Where they meet")."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from enqueued.errors import ConfigError

VARIABLE = "ENQUEUED_ENDPOINT"
NAME_VARIABLE = "ENQUEUED_NAME"
"""The daemon's name, for `enqueued serve` and for clients: the socket is ``NAME.sock``."""
HAND_OFF = ".fds"
"""What is added to the path of the ipc socket to get that of the hand-off socket."""
LOOPBACK_BUFFER = 512 * 1024
"""Send and receive buffer of a connection within one host: what the kernel copies in is still warm when it copies out.

By itself it takes up to 4 MB and more, which a far network needs.
"""
_MOST_PATH = 99
"""A unix socket's path has 107 bytes at most (unix(7)); those beside it are longer by their suffixes."""


@dataclass(frozen=True)
class Place:
    """An address and, if it has one in it, the name of a stream there."""

    endpoint: str
    stream: str | None = None

    @property
    def path(self) -> str | None:
        """The path of the ipc socket; None for tcp."""
        return self.endpoint.removeprefix("ipc://") if self.endpoint.startswith("ipc://") else None


def is_loopback(endpoint: str) -> bool:
    """Whether what is reached at a ``tcp://`` address is surely on this host."""
    return endpoint.startswith(("tcp://127.", "tcp://localhost:", "tcp://[::1]:"))


def parse(where: str) -> Place:
    """``tcp://host:port[/stream]`` or ``ipc://path.sock[/stream]``. Raises `ConfigError`."""
    scheme, separator, rest = where.partition("://")
    if scheme == "tcp" and separator:
        address, _, stream = rest.partition("/")
        host, colon, port = address.rpartition(":")
        if colon and host and port.isdigit() and 0 < int(port) < 65536:
            return Place(f"tcp://{address}", stream or None)
    elif scheme == "ipc" and rest:
        path, stream = rest, ""
        if not rest.endswith(".sock") and os.path.dirname(rest).endswith(".sock"):
            path, stream = os.path.split(rest)
        return Place(f"ipc://{path}", stream or None)
    raise ConfigError(
        f'{where!r} is no address: give "tcp://host:port", "tcp://host:port/stream" or "ipc:///path/name.sock"'
    )


def folders(environ: Mapping[str, str]) -> list[Path]:
    """The folders in which a socket may lie, the preferred first."""
    found = [Path(one) for one in environ.get("RUNTIME_DIRECTORY", "").split(":") if one]
    if environ.get("XDG_RUNTIME_DIR"):
        found.append(Path(environ["XDG_RUNTIME_DIR"]) / "enqueued")
    return [*found, Path("/run/enqueued"), Path(tempfile.gettempdir()) / f"enqueued-{os.getuid()}"]


def places(name: str, environ: Mapping[str, str]) -> list[Place]:
    """Where a client looks for the daemon `name`, in order."""
    if environ.get(VARIABLE):
        return [parse(environ[VARIABLE])]
    return [Place(f"ipc://{folder / name}.sock") for folder in folders(environ)]


def place_to_bind(name: str, environ: Mapping[str, str]) -> Place:
    """Where the daemon `name` binds: the first folder that is there or can be made and written to.

    Raises `ConfigError` with every folder that was tried.
    """
    if environ.get(VARIABLE):
        return parse(environ[VARIABLE])
    tried = []
    for folder in folders(environ):
        reason = _prepare(folder, make=folder != Path("/run/enqueued"))
        if reason is None:
            return Place(f"ipc://{folder / name}.sock")
        tried.append(f"{folder}: {reason}")
    raise ConfigError("no folder for the daemon's socket; tried " + "; ".join(tried) + ". Give --endpoint ipc://PATH.")


def _prepare(folder: Path, *, make: bool) -> str | None:
    """Make sure that a folder can hold the socket; why not, if not."""
    try:
        if make:
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return None if os.access(folder, os.W_OK | os.X_OK) and folder.is_dir() and trusted(folder) else "not ours to write"


def trusted(folder: Path) -> bool:
    """Whether a socket in this folder can be believed to be what its path says.

    The folder is this user's or root's, or root has put it where only root can put things, as ``/run/enqueued`` of a
    daemon with a user of its own; and not everybody may write to it.
    """
    try:
        status, above = folder.stat(follow_symlinks=False), folder.resolve().parent.stat()
    except OSError:
        return False
    placed_by_root = above.st_uid == 0 and not above.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return (status.st_uid in (os.getuid(), 0) or placed_by_root) and not status.st_mode & stat.S_IWOTH


def distrusted(path: str) -> bool:
    """Whether a socket at this path lies in a folder that is there and cannot be believed."""
    folder = os.path.dirname(path)
    return os.path.exists(folder) and not trusted(Path(folder))


def check_length(path: str) -> None:
    """Raises `ConfigError` for a path that is too long for a unix socket."""
    if len(os.fsencode(path)) > _MOST_PATH:
        raise ConfigError(f"{path} is too long for a socket ({_MOST_PATH} bytes); give a shorter --endpoint ipc://PATH")
