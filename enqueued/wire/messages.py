"""The verbs of PROTOCOL.md: how they are packed, and checked when they are unpacked."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from struct import Struct
from struct import error as StructError
from typing import Any

import msgpack

from enqueued.errors import ProtocolError

PROTOCOL = 1
MOST_BYTES = 1 << 20
"""The largest message, without the frames of batches."""

HELLO, CREDIT, TAKE, SEEK, ASK, BYE = "HELLO", "CREDIT", "TAKE", "SEEK", "ASK", "BYE"
WELCOME, LOADING, REFUSED, BATCHES, ANSWER, GONE = "WELCOME", "LOADING", "REFUSED", "BATCHES", "ANSWER", "GONE"

TICKET, FRAME, ERROR, END, OVER = range(5)
"""The items of BATCHES."""
REDELIVERED, PADDED = 1, 2
"""The flags of a batch."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MOST_RUNS = 4096
_MOST_LEASES = 65536
_BOUND = 1 << 63
_NUMBERS = {kind: (count, Struct(f"{count}q")) for kind, count in ((0, 9), (1, 6), (2, 6), (3, 4), (4, 2))}
"""For each kind of item how many numbers it begins with; packing them checks at once that they are integers."""
_FIELDS = {
    CREDIT: (int,),
    TAKE: (list, list),
    SEEK: (int, int, int),
    ASK: (str,),
    BYE: (),
    WELCOME: (dict,),
    LOADING: (str,),
    REFUSED: (str,),
    BATCHES: (list, list),
    ANSWER: (str, object),
    GONE: (str,),
    HELLO: (dict,),
}
MOST_EPOCHS = 1 << 32
"""Nobody begins at an epoch beyond: what is counted up from there stays in 64 bits everywhere."""
QUESTIONS = frozenset({"stats", "spec", "waiting"})
"""What may be asked."""
FROM_CLIENT = frozenset({HELLO, CREDIT, TAKE, SEEK, ASK, BYE})
FROM_DAEMON = frozenset({WELCOME, LOADING, REFUSED, BATCHES, ANSWER, GONE})

Run = tuple[int, int]

_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = 100
_show = _shown.repr
"""What a peer sent, for an error: short, and safe for what is nested deeper than `repr` goes."""


@dataclass(frozen=True)
class Hello:
    """What a client says of itself when it begins a session."""

    stream: str | None = None
    group: str | None = None
    start: str | tuple[int, int] = "first"
    token: bytes | None = None
    repeated: bool = False
    host: str = ""
    pid: int = 0
    version: str = ""
    protocol: int = PROTOCOL

    def pack(self) -> bytes:
        """The message."""
        return pack(HELLO, asdict(self))

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Hello:
        """The checked contents of a HELLO. Raises `ProtocolError`."""
        protocol = plain.get("protocol")
        if protocol != PROTOCOL:
            raise ProtocolError(f"the client speaks protocol {_show(protocol)}, this daemon {PROTOCOL}")
        start = plain.get("start", "first")
        if isinstance(start, list) and len(start) == 2:
            start = position(*start)
        elif start not in ("first", "live"):
            raise ProtocolError(f'start is "first", "live" or [epoch, index], not {_show(start)}')
        token = plain.get("token")
        if token is not None and not isinstance(token, bytes):
            raise ProtocolError("token is bytes or nil")
        pid = plain.get("pid", 0)
        return cls(
            stream=_name(plain, "stream"),
            group=_name(plain, "group"),
            start=start,
            token=token,
            repeated=plain.get("repeated") is True,
            host=_text(plain, "host"),
            pid=pid if _is_count(pid) else 0,
            version=_text(plain, "version"),
        )


def pack(verb: str, *fields: Any) -> bytes:
    """A message."""
    packed: bytes = msgpack.packb((verb, *fields))
    return packed


def unpack(data: Any, verbs: frozenset[str]) -> tuple[str, list[Any]]:
    """The verb and the fields of a message that may be any bytes. Raises `ProtocolError`."""
    if len(data) > MOST_BYTES:
        raise ProtocolError(f"a message of {len(data)} bytes; the most is {MOST_BYTES}")
    try:
        message = msgpack.unpackb(
            data, strict_map_key=True, max_array_len=65536, max_map_len=1024, max_str_len=65536, max_bin_len=65536
        )
    except Exception as error:  # msgpack raises many kinds, ValueError and UnicodeDecodeError among them
        raise ProtocolError(f"not a message: {error}") from None
    if not isinstance(message, list) or not message or not isinstance(message[0], str) or message[0] not in verbs:
        raise ProtocolError("a message begins with a verb")
    verb, fields = message[0], message[1:]
    kinds = _FIELDS[verb]
    if len(fields) < len(kinds):
        raise ProtocolError(f"{verb} has {len(kinds)} fields, not {len(fields)}")
    for kind, field in zip(kinds, fields, strict=False):
        if not isinstance(field, kind) or (kind is int and not _is_count(field)):
            raise ProtocolError(f"a field of {verb} is {_show(field)}")
    return verb, fields


def runs(plain: list[Any]) -> list[Run]:
    """Checked runs of lease numbers. Raises `ProtocolError`."""
    if len(plain) > _MOST_RUNS:
        raise ProtocolError(f"{len(plain)} runs; the most is {_MOST_RUNS}")
    for run in plain:
        if not isinstance(run, list) or len(run) != 2 or not all(map(_is_count, run)):
            raise ProtocolError("a run is [first, count]")
    if sum(count for _, count in plain) > _MOST_LEASES:
        raise ProtocolError(f"runs of more than {_MOST_LEASES} leases")
    return [(first, count) for first, count in plain]


def to_runs(numbers: Iterable[int]) -> list[list[int]]:
    """Lease numbers as runs; neighbours that stand together share one."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][0] + found[-1][1] == number:
            found[-1][1] += 1
        else:
            found.append([number, 1])
    return found


def position(epoch: Any, index: Any) -> tuple[int, int]:
    """A checked position to begin at. Raises `ProtocolError`."""
    if not _is_count(epoch) or not _is_count(index) or epoch >= MOST_EPOCHS:
        raise ProtocolError(f"start is no position: {_show(epoch)}:{_show(index)}")
    return epoch, index


def check_item(item: Any) -> list[Any]:
    """One item of BATCHES from a daemon that is not trusted. Raises `ProtocolError`."""
    try:
        kind = item[0] if type(item) is list else -1
        count, numbers = _NUMBERS[kind]
        first = item if len(item) == count else item[:count]
        numbers.pack(*first)
        if min(first) >= 0 and (kind != ERROR or isinstance(item[count], dict)):
            return item  # type: ignore[no-any-return]  # it is a list
    except (LookupError, TypeError, StructError):
        pass
    raise ProtocolError(f"not an item: {_show(item)}")


def check_welcome(plain: dict[str, Any]) -> dict[str, Any]:
    """The contents of a WELCOME from a daemon that is not trusted. Raises `ProtocolError`."""
    welcome = {"credit_limit": 1, "indexed": True, "length": None, "check": "", **plain}
    for key in ("stream", "kind", "source", "check", "indexed"):
        if not isinstance(welcome.get(key), bool if key == "indexed" else str):
            raise ProtocolError(f"the daemon's welcome has the {key} {_show(welcome.get(key))}")
    for key in ("epoch", "index", "credit_limit", "length"):
        if not _is_count(welcome.get(key)) and (key != "length" or welcome["length"] is not None):
            raise ProtocolError(f"the daemon's welcome has the {key} {_show(welcome.get(key))}")
    return welcome


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _BOUND


def _text(plain: dict[str, Any], key: str) -> str:
    text = plain.get(key)
    return text[:64] if isinstance(text, str) else ""


def _name(plain: dict[str, Any], key: str) -> str | None:
    name = plain.get(key)
    if name is None:
        return None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ProtocolError(f"{key} is 1 to 64 letters, digits, dots, dashes or underscores, not {_show(name)}")
    return name
