"""What is kept of a named group that nobody is in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from enqueued.batch import Position
from enqueued.errors import ProtocolError


@dataclass(frozen=True)
class Stored:
    """Where a named group without members stands.

    `missing` is still to be delivered again, in the epoch of `position` or later; `taken` lies after that and was
    delivered. So many `members` lost it, by a crash of the daemon or a reset, and are expected back until `until`;
    `ahead` more may have been delivered. It may deliver `room` before the state file has to be written, None if that is
    up to date.
    Of `world_size` ranks those that have `left` are kept as `(rank, epoch, index)`, their next position.
    """

    position: Position
    missing: tuple[Position, ...] = ()
    taken: tuple[Position, ...] = ()
    generation: int = 0
    ranks: bool = False
    members: int = 0
    ahead: int = 0
    until: float = 0.0
    room: int | None = None
    world_size: int = 0
    left: tuple[tuple[int, int, int], ...] = ()

    def to_plain(self) -> list[Any]:
        """Plain data for the state file, without `until` and `room`."""
        return [getattr(self, name) for name in _STORED]

    @classmethod
    def from_plain(cls, plain: Any, until: float) -> Stored:
        """What `to_plain` described. Raises `ProtocolError`."""
        if not isinstance(plain, list | tuple) or len(plain) != len(_STORED):
            raise ProtocolError("a stored group is a list of " + ", ".join(_STORED))
        at, missing, taken, generation, ranks, members, ahead, world_size, left = plain
        position = _position(at)
        stored = cls(
            position,
            _positions(missing),
            _positions(taken),
            _count(generation),
            ranks is True,
            _count(members),
            _count(ahead),
            until,
            room=_count(ahead),
            world_size=_count(world_size),
            left=_left(left, world_size),
        )
        if any(one[0] < position[0] for one in stored.missing):
            raise ProtocolError(f"a stored group misses something of an epoch before its own, {position[0]}")
        return stored


_STORED = ("position", "missing", "taken", "generation", "ranks", "members", "ahead", "world_size", "left")


def _positions(plain: Any) -> tuple[Position, ...]:
    if not isinstance(plain, list | tuple):
        raise ProtocolError("the positions of a stored group are a list")
    return tuple(map(_position, plain))


def _left(plain: Any, world_size: int) -> tuple[tuple[int, int, int], ...]:
    if not isinstance(plain, list | tuple) or any(not isinstance(one, list | tuple) or len(one) != 3 for one in plain):
        raise ProtocolError("the ranks of a stored group that have left are a list of [rank, epoch, index]")
    left = tuple((_count(one[0]), _count(one[1]), _count(one[2])) for one in plain)
    if any(one[0] >= world_size for one in left):
        raise ProtocolError(f"a stored group of {world_size} ranks lacks a rank that it has not")
    return left


def _position(plain: Any) -> Position:
    if not isinstance(plain, list | tuple) or len(plain) != 2:
        raise ProtocolError("a position of a stored group is a pair")
    return _count(plain[0]), _count(plain[1])


def _count(plain: Any) -> int:
    if type(plain) is not int or not 0 <= plain < 1 << 63:
        raise ProtocolError(f"no count of a stored group: {str(plain)[:40]}")
    return plain
