"""The replicas of a streamed source, taken in turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any


class Interleave:
    """One epoch of a streamed source with several replicas: what each has given, and whose turn it is.

    Replica k gives the k-th batch of every round; one that has come to its end is passed over. Pure.
    """

    def __init__(self, replicas: int) -> None:
        self.filled = 0
        """How many batches have been taken out: the index of the next one."""
        self._given: list[deque[Any]] = [deque() for _ in range(replicas)]
        self._asked = [0] * replicas
        """How many batches each replica was asked for in all."""
        self._answered = [0] * replicas
        self._ended = [False] * replicas
        self._turn = 0
        self._ask_turn = 0

    @property
    def turn(self) -> int:
        """The replica whose batch is the next one."""
        return self._turn

    @property
    def over(self) -> bool:
        """Whether every replica has ended and all they gave was taken."""
        return all(self._ended) and not any(self._given)

    def ask(self, wanted: int) -> list[tuple[int, int, int]]:
        """What to ask of the replicas so that `wanted` batches are given or under way: `(replica, first index, count)`.

        The index is the one that the batch has if all replicas are equally long; it only serves to seed generators.
        """
        under_way = sum(map(len, self._given)) + sum(
            asked - answered
            for asked, answered, ended in zip(self._asked, self._answered, self._ended, strict=True)
            if not ended
        )
        counts: dict[int, list[int]] = {}
        replicas = len(self._asked)
        for _ in range(wanted - under_way):
            if all(self._ended):
                break
            while self._ended[self._ask_turn]:
                self._ask_turn = (self._ask_turn + 1) % replicas
            replica = self._ask_turn
            counts.setdefault(replica, [self._asked[replica] * replicas + replica, 0])[1] += 1
            self._asked[replica] += 1
            self._ask_turn = (replica + 1) % replicas
        return [(replica, first, count) for replica, (first, count) in counts.items()]

    def give(self, replica: int, batch: Any) -> None:
        """A replica has made its next batch."""
        self._answered[replica] += 1
        self._given[replica].append(batch)

    def end(self, replica: int) -> None:
        """A replica has come to its end."""
        self._ended[replica] = True

    def take(self) -> Iterator[tuple[int, Any]]:
        """The batches whose turn has come, with their indices."""
        while not self.over:
            given = self._given[self._turn]
            if given:
                self.filled += 1
                yield self.filled - 1, given.popleft()
            elif not self._ended[self._turn]:
                return
            self._turn = (self._turn + 1) % len(self._given)
