"""The lines of a ledger: one JSON object each, and each names the session that wrote it.

::

    {"s":"3fa9c1d2e4.0","v":1,"member":"node7:4711:0","stream":"train","kind":"split","group":"sweep", ...}
    {"s":"3fa9c1d2e4.0","at":[0,117],"sum":"0123456789abcdef"}
    {"s":"3fa9c1d2e4.0","at":[0,118],"sum":"fedcba9876543210","attempt":1}
    {"s":"3fa9c1d2e4.0","ended":[0,2000]}

`s` is the writer (ten hex digits, drawn when the ledger is opened) and the number of its session. The first line of a
session says what it is and carries the version. Then comes a line for each acknowledged batch, with ``"pad":true``
where it repeats another one and ``"skip":true`` where there was none, and one for each end of an epoch.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from enqueued.errors import ProtocolError

if TYPE_CHECKING:  # it is a row of the house away
    from enqueued.batch import Position

Kind = Literal["private", "split", "ranks"]

VERSION = 1
START = b'{"s":"'
MOST_RANKS = 65536

_NUMBER = rb"(0|[1-9]\d{0,18})"
_BEGINNING = rb'\{"s":"([0-9a-f]{10}\.\d{1,9})",'
ACKNOWLEDGED = re.compile(
    _BEGINNING
    + rb'"at":\[%s,%s\](?:,"sum":"([0-9a-f]{16})")?(?:,"attempt":([1-9]))?(,"pad":true)?(,"skip":true)?\}'
    % (_NUMBER, _NUMBER)
)
"""Groups: session, epoch, index, checksum, attempt, pad, skip."""
ENDED = re.compile(_BEGINNING + rb'"ended":\[%s,%s\]\}' % (_NUMBER, _NUMBER))
"""Groups: session, epoch, length."""
BEGUN = re.compile(_BEGINNING + rb'"v":')
"""Groups: session."""
SESSION = re.compile(_BEGINNING)
"""Groups: session. What a line that was cut short may still say."""


@dataclass(frozen=True)
class Session:
    """What a client says when a session begins; `Ledger.begin` describes the fields."""

    member: str
    stream: str
    kind: Kind
    group: str | None
    run: str
    rank: int
    world_size: int
    tail: str
    base: Position
    start: Position
    taken: tuple[Position, ...]
    length: int | None
    indexed: bool
    fixed_epoch: int | None
    reorder_window: int
    continued: bool

    def line(self, name: str) -> str:
        """The line that begins the session of this name, without its end."""
        return json.dumps({"s": name, "v": VERSION, **asdict(self)}, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: bytes) -> Session:
        """The checked contents of such a line. Raises `ProtocolError` that says what is wrong with it."""
        try:
            plain = json.loads(line)
        except (ValueError, RecursionError):
            raise ProtocolError("it is no JSON") from None
        if plain["v"] != VERSION:
            raise ProtocolError(f"it has version {plain['v']!r}, and this enqueued reads version {VERSION}")
        found = {field.name: plain.get(field.name) for field in fields(cls)}
        for name, sound in _SOUND.items():
            if not sound(found[name]):
                raise ProtocolError(f"its {name} is {found[name]!r}")
        if found["rank"] >= found["world_size"]:
            raise ProtocolError(f"its rank is {found['rank']} of {found['world_size']}")
        positions = {name: tuple(found[name]) for name in ("base", "start")}
        return cls(**found | positions | {"taken": tuple(map(tuple, found["taken"]))})


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


def _number(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**19


def _number_or_none(value: Any) -> bool:
    return value is None or _number(value)


def _position(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number, value))


_SOUND = {
    "member": _text,
    "stream": _text,
    "kind": lambda value: value in ("private", "split", "ranks"),
    "group": lambda value: value is None or _text(value),
    "run": _text,
    "rank": _number,
    "world_size": lambda value: _number(value) and value <= MOST_RANKS,
    "tail": lambda value: value in ("drop", "pad"),
    "base": _position,
    "start": _position,
    "taken": lambda value: isinstance(value, list) and all(map(_position, value)),
    "length": _number_or_none,
    "indexed": _truth,
    "fixed_epoch": _number_or_none,
    "reorder_window": _number,
    "continued": _truth,
}
