"""Sources that die, hang, leave children behind or raise, each at positions of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from gate import enter


def first_time(folder: str, name: str) -> bool:
    """Whether nobody has asked for this name in this folder before, in any process."""
    try:
        os.close(os.open(Path(folder) / name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def end(how: str) -> None:
    """End this process in one of the ways in which user code does."""
    if how == "segv":
        ctypes.string_at(0)
    elif how == "abort":
        os.abort()
    elif how == "_exit":
        os._exit(7)
    elif how == "sys.exit":
        sys.exit(3)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "hang":
        threading.Event().wait()
    elif how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    raise ValueError(how)


class Dying:
    """Ends its worker at the positions `at`: at each only the first time if there is a `folder` for notes."""

    def __init__(self, how: str = "segv", at: list[int] | None = None, folder: str = "", length: int = 20) -> None:
        self.how = how
        self.at = [7] if at is None else at
        self.folder = folder
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if index in self.at and (not self.folder or first_time(self.folder, str(index))):
            end(self.how)
        return np.full(4, index)


class DyingBetween:
    """Ends the process that runs `on_epoch_end`, or raises there, when the epochs `at` end."""

    def __init__(self, how: str = "raise", at: list[int] | None = None, folder: str = "") -> None:
        self.how = how
        self.at = [0] if at is None else at
        self.folder = folder
        self.epoch = 0

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Any:
        return np.full(2, self.epoch * 100 + index)

    def on_epoch_end(self) -> None:
        if self.epoch in self.at and (not self.folder or first_time(self.folder, str(self.epoch))):
            end(self.how)
        self.epoch += 1


class Unwilling:
    """Ends its process, or hangs, while it is constructed."""

    def __init__(self, how: str) -> None:
        end(how)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return index


class Raising:
    """Raises at the positions `at`, with a text that is hard to carry."""

    def __init__(self, at: list[int] | None = None, text: str = "bad pixel", length: int = 20) -> None:
        self.at = [3] if at is None else at
        self.text = text
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if index in self.at:
            raise ValueError(self.text)
        return np.full(4, index)


class Unspeakable(Raising):
    """Raises an error that names a file whose name is no text, and one with a long traceback."""

    def __getitem__(self, index: int) -> Any:
        if index == 3:
            raise ValueError(b"\xff\xfe".decode("utf-8", "surrogateescape"))
        if index == 5:
            raise ValueError("\U0001f40d" * 40_000)
        return np.full(4, index)


class Odd:
    """Batches that cannot travel."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        if index == 1:
            return {"x": [np.zeros(2), np.array([object()], dtype=object)]}
        if index == 2:
            return {"y": (1, {"deep": {1, 2}})}
        return {"x": [np.zeros(2), np.zeros(2)]}


class Parent:
    """Starts a child process in each worker."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        if self.child is None:
            self.child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        return np.array([index, self.child.pid])


class Slow:
    """Waits at each position for the gate in `folder`; notes in `folder` that it has begun."""

    def __init__(self, folder: str, length: int = 20) -> None:
        self.folder = Path(folder)
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        (self.folder / f"begun-{index}").touch()
        enter(self.folder / "gate")
        return np.full(4, index)


def stream_that_dies(at: int = 5, how: str = "kill") -> Any:
    """A generator that ends its worker."""
    for index in range(20):
        if index == at:
            end(how)
        yield np.full(4, index)


def stream_that_raises(at: int = 5) -> Any:
    """A generator that raises in the middle of each epoch."""
    for index in range(20):
        if index == at:
            raise ValueError("bad row")
        yield np.full(4, index)


def refusing_init(source: Any, info: Any) -> None:
    """A `--worker-init` that raises."""
    raise RuntimeError("no database")


def dying_init(source: Any, info: Any) -> None:
    """A `--worker-init` that ends its process."""
    os._exit(9)


def dying_once_init(source: Any, info: Any) -> None:
    """A `--worker-init` that ends its process the first time."""
    if first_time(os.environ["DYING_FOLDER"], "init"):
        os._exit(9)


class DyingLarge:
    """Batches of 2 MiB from workers that are killed after `every` of them."""

    def __init__(self, length: int, every: int) -> None:
        self.length = length
        self.every = every
        self.made = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        self.made += 1
        if self.made > self.every:
            end("kill")
        return np.full(1 << 18, index)
