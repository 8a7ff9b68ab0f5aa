"""What is remembered of acknowledged batches: for a daemon that comes back without memory, and for a ledger."""

from __future__ import annotations

import os
import socket
from collections import deque
from typing import Any, Protocol

import numpy as np

from enqueued.batch import Position
from enqueued.client.course import Course
from enqueued.ledger.writer import Ledger, checksum
from enqueued.wire.messages import ERROR, PADDED, REDELIVERED

_MOST = 65536


class Witness(Protocol):
    """Sees what a client takes and acknowledges. Items are those of BATCHES."""

    def began(self, welcome: dict[str, Any], course: Course, *, continued: bool) -> None:
        """A session stands at a place; `continued` if just where the one before it was."""

    def took(self, item: list[Any], root: np.ndarray[Any, Any] | None) -> None:
        """A batch is about to be yielded; its bytes are still what the daemon sent."""

    def acknowledged(self, item: list[Any]) -> None:
        """The batch that was taken last is about to be acknowledged."""

    def ended(self, epoch: int, length: int) -> None:
        """The daemon said that an epoch has ended."""


class Unstable:
    """What a member of a split group acknowledged and the daemon may forget when it crashes."""

    def __init__(self) -> None:
        self.positions: deque[Position] = deque(maxlen=_MOST)
        self._told = 0

    def began(self, welcome: dict[str, Any], course: Course, *, continued: bool) -> None:
        self._told = 0
        if not continued:
            self.positions.clear()

    def took(self, item: list[Any], root: np.ndarray[Any, Any] | None) -> None:
        pass

    def acknowledged(self, item: list[Any]) -> None:
        self._told += 1
        self.positions.append((item[3], item[4]))

    def ended(self, epoch: int, length: int) -> None:
        pass

    def settle(self, stable: int) -> None:
        """The first so many acknowledgements of this session are on disk, and if it is any, all of earlier ones."""
        positions = self.positions
        while stable and positions and self._told - len(positions) < stable:
            positions.popleft()


class Written:
    """Writes a ledger."""

    def __init__(self, path: str | os.PathLike[str], fixed_epoch: int | None) -> None:
        self._ledger = Ledger(os.fspath(path))
        self._member = f"{socket.gethostname()}:{os.getpid()}:{next(_numbers)}"
        self._fixed_epoch = fixed_epoch
        self._sum = ""

    def began(self, welcome: dict[str, Any], course: Course, *, continued: bool) -> None:
        share = course.share
        start = course.epoch, course.index
        self._ledger.begin(
            stream=welcome["stream"],
            group=share.group,
            member=self._member,
            kind="split" if share.split else "private" if share.rank is None else "ranks",
            rank=share.rank or 0,
            world_size=share.world_size,
            tail=share.tail,
            base=start if share.rank is None else (course.epoch, course.base),
            start=start,
            length=course.length if welcome["indexed"] and course.sure else None,
            indexed=welcome["indexed"],
            fixed_epoch=self._fixed_epoch,
            continued=continued,
            run=str(welcome.get("run", "")),
            reorder_window=course.window,
            taken=[(course.epoch, index) for index in sorted(course.ahead)],
        )

    def took(self, item: list[Any], root: np.ndarray[Any, Any] | None) -> None:
        self._sum = "" if root is None else checksum(root.data)

    def acknowledged(self, item: list[Any]) -> None:
        self._ledger.acknowledged(
            (item[3], item[4]),
            attempt=int(bool(item[5] & REDELIVERED)),
            padded=bool(item[5] & PADDED),
            checksum=self._sum,
            skipped=item[0] == ERROR,
        )

    def ended(self, epoch: int, length: int) -> None:
        self._ledger.ended(epoch, length)

    def close(self) -> None:
        """Close the file."""
        self._ledger.close()


_numbers = iter(range(1 << 62))
"""Tells clients of one process apart."""
