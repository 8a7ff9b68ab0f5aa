"""Small batches that came as one: their bytes are copied, and decoded, when the first of them is taken."""

from __future__ import annotations

from typing import Any

import numpy as np

from enqueued.codec.runs import decode_run
from enqueued.errors import ProtocolError


class Run:
    """The batches of one ticket, or of one frame; `place` is what came of it.

    They share one copy of their bytes, which lives as long as an array of any of them.
    """

    __slots__ = ("_batches", "_head", "_root", "count", "index", "lease", "place", "step", "taken",
                 "whole")  # fmt: skip

    def __init__(self, head: list[int], count: int, step: int, place: Any) -> None:
        self._head = head
        self.lease, self.index = head[1], head[4]
        """Of the first one."""
        self.count = count
        self.step = step
        self.place = place
        self.taken = 0
        """How many of them were taken."""
        self.whole = False
        """Whether all of them are batches, after `read`."""
        self._root: np.ndarray[Any, Any] | None = None
        self._batches: list[Any] = []

    @property
    def unread(self) -> bool:
        """Whether its bytes were not copied yet."""
        return self._root is None

    def read(self, root: np.ndarray[Any, Any]) -> None:
        """Decode the copy of its bytes."""
        try:
            self._batches = decode_run(root, self.count, self.step)
        except ProtocolError as error:
            self._batches = [error] * self.count
        self.whole = ProtocolError not in map(type, self._batches)
        self._root = root

    def item(self, n: int) -> list[Any]:
        """What a message would say of one of them alone."""
        kind, lease, generation, epoch, index, flags = self._head
        return [kind, lease + n, generation, epoch, index + n, flags, self]

    def take(self) -> Any:
        """The next one's data. Raises `ProtocolError` when its bytes are no batch."""
        n = self.taken
        self.taken = n + 1
        data, self._batches[n] = self._batches[n], None
        if type(data) is ProtocolError:
            try:
                raise data
            finally:
                del data  # else the error would hold the frame that holds it
        return data

    def root(self) -> np.ndarray[Any, Any]:
        """The next one's bytes."""
        assert self._root is not None
        start = self.taken * self.step
        return self._root[start : start + self._root.size - (self.count - 1) * self.step]
