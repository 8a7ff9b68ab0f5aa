"""The verbs of PROTOCOL.md: how they are packed, and checked when they are unpacked."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
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
STABLE = "STABLE"

TICKET, FRAME, ERROR, END, OVER = range(5)
"""The items of BATCHES."""
REDELIVERED, PADDED = 1, 2
"""The flags of a batch."""
MOST_TOGETHER = 64
"""A ticket, or a frame, stands for so many batches at most."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MOST_RUNS = 4096
_MOST_LEASES = 65536
_BOUND = 1 << 63
_NUMBERS = {kind: (count, Struct(f"{count}q")) for kind, count in ((0, 11), (1, 8), (2, 6), (3, 4), (4, 2))}
"""For each kind of item how many numbers it begins with; packing them checks at once that they are integers."""
_COUNT = (9, 6)
"""Where a ticket, and a frame, say for how many batches they stand."""
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
    STABLE: (int,),
    HELLO: (dict,),
}
MOST_EPOCHS = 1 << 32
"""Nobody begins at an epoch beyond: what is counted up from there stays in 64 bits everywhere."""
MOST_COUNTED = 1 << 62
"""No index and no generation that a client names is beyond, for the same reason."""
QUESTIONS = frozenset({"stats", "spec", "waiting", "canary", "group", "missing"})
"""What may be asked."""
FROM_CLIENT = frozenset({HELLO, CREDIT, TAKE, SEEK, ASK, BYE})
FROM_DAEMON = frozenset({WELCOME, LOADING, REFUSED, BATCHES, ANSWER, GONE, STABLE})

_NIL = type(None)
_WELCOME: dict[str, Any] = {
    "credit_limit": 1,
    "indexed": True,
    "length": None,
    "check": "",
    "incarnation": "",
    "generation": 0,
    "base": None,
    "origin": None,
    "reorder_window": 0,
    "hooked": False,
    "fingerprint": {},
    "file": "",
    "hash": "",
    "loaded_at": 0,
}
"""What a WELCOME may leave out."""
_WELCOME_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("stream", "kind", "source", "check", "incarnation", "file", "hash"), (str,)),
    **dict.fromkeys(("indexed", "hooked"), (bool,)),
    **dict.fromkeys(("epoch", "index", "credit_limit", "generation", "reorder_window"), (int,)),
    **dict.fromkeys(("base", "origin"), (list, _NIL)),
    "length": (int, _NIL),
    "loaded_at": (int, float),
    "fingerprint": (dict,),
}

Run = tuple[int, int]

_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = 100
show = _shown.repr
"""What a peer sent, for an error: short, and safe for what is nested deeper than `repr` goes."""


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
        if not isinstance(field, kind) or (kind is int and not is_count(field)):
            raise ProtocolError(f"a field of {verb} is {show(field)}")
    return verb, fields


def runs(plain: list[Any]) -> list[Run]:
    """Checked runs of lease numbers. Raises `ProtocolError`."""
    if len(plain) > _MOST_RUNS:
        raise ProtocolError(f"{len(plain)} runs; the most is {_MOST_RUNS}")
    found, leases = [], 0
    for run in plain:
        first, count = run if type(run) is list and len(run) == 2 else (None, None)
        if type(first) is not int or type(count) is not int or not (0 <= first < _BOUND and 0 <= count < _BOUND):
            raise ProtocolError("a run is [first, count]")
        leases += count
        found.append((first, count))
    if leases > _MOST_LEASES:
        raise ProtocolError(f"runs of more than {_MOST_LEASES} leases")
    return found


def join_runs(given: Iterable[list[int]]) -> list[list[int]]:
    """Runs of lease numbers, `[first, count]`; neighbours that stand together are one."""
    found: list[list[int]] = []
    for first, count in given:
        if found and found[-1][0] + found[-1][1] == first:
            found[-1][1] += count
        else:
            found.append([first, count])
    return found


def position(epoch: Any, index: Any, what: str = "start") -> tuple[int, int]:
    """A checked position. Raises `ProtocolError`."""
    if not is_count(epoch) or not is_count(index) or epoch >= MOST_EPOCHS or index >= MOST_COUNTED:
        raise ProtocolError(f"{what} is no position: {show(epoch)}:{show(index)}")
    return epoch, index


def check_item(item: Any) -> list[Any]:
    """One item of BATCHES from a daemon that is not trusted. Raises `ProtocolError`."""
    try:
        kind = item[0] if type(item) is list else -1
        count, numbers = _NUMBERS[kind]
        first = item if len(item) == count else item[:count]
        numbers.pack(*first)
        whole = (
            isinstance(item[count], dict) if kind == ERROR else kind > FRAME or 0 < item[_COUNT[kind]] <= MOST_TOGETHER
        )
        if whole and min(first) >= 0:
            return item  # type: ignore[no-any-return]  # it is a list
    except (LookupError, TypeError, StructError):
        pass
    raise ProtocolError(f"not an item: {show(item)}")


def check_welcome(plain: dict[str, Any]) -> dict[str, Any]:
    """The contents of a WELCOME from a daemon that is not trusted. Raises `ProtocolError`."""
    welcome = {**_WELCOME, **plain}
    for key, kinds in _WELCOME_KINDS.items():
        value = welcome.get(key)
        odd = (type(value) is int and not is_count(value)) or (type(value) is bool and bool not in kinds)
        if odd or not isinstance(value, kinds):
            raise ProtocolError(f"the daemon's welcome has the {key} {show(value)}")
    for key in ("base", "origin"):
        if welcome[key] is not None:
            if len(welcome[key]) != 2:
                raise ProtocolError(f"the daemon's welcome has the {key} {show(welcome[key])}")
            welcome[key] = position(*welcome[key])
    return welcome


def is_count(value: Any) -> bool:
    """Whether this is an integer of the protocol."""
    return type(value) is int and 0 <= value < _BOUND


def is_name(text: str) -> bool:
    """Whether a stream or a group may have this name."""
    return _NAME.fullmatch(text) is not None
