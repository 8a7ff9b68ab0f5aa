"""What a client says when it begins a session: who it is, and what it claims of a stream."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from enqueued.batch import Position
from enqueued.errors import ProtocolError
from enqueued.wire.messages import HELLO, MOST_COUNTED, PROTOCOL, is_count, is_name, pack, position, show

STARTS = ("first", "live", "stored")
MOST_RANKS = 4096
_MOST_POSITIONS = 65536
_MOST_CODECS = 16


@dataclass(frozen=True)
class Claim:
    """Where in which group a client wants to be; `PROTOCOL.md` describes each field."""

    group: str | None = None
    start: str | Position = "first"
    rank: int | None = None
    world_size: int = 1
    tail: Literal["drop", "pad"] = "drop"
    base: Position | None = None
    origin: Position | None = None
    taken: tuple[Position, ...] = ()
    missing: tuple[Position, ...] = ()
    returning: bool = False
    generation: int = 0
    held: tuple[Position, ...] = ()
    acked: tuple[Position, ...] = ()

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Claim:
        """The checked claim of a HELLO. Raises `ProtocolError`."""
        start = plain.get("start", "first")
        if isinstance(start, list) and len(start) == 2:
            start = position(*start)
        elif start not in STARTS:
            raise ProtocolError(f'start is "first", "live", "stored" or [epoch, index], not {show(start)}')
        rank, world_size = plain.get("rank"), plain.get("world_size", 1)
        if not is_count(world_size) or not 1 <= world_size <= MOST_RANKS:
            raise ProtocolError(f"world_size is 1 to {MOST_RANKS}, not {show(world_size)}")
        if rank is not None and (not is_count(rank) or rank >= world_size):
            raise ProtocolError(f"rank is 0 to {world_size - 1}, not {show(rank)}")
        group, tail, generation = name_or_nil(plain, "group"), plain.get("tail", "drop"), plain.get("generation", 0)
        if rank is not None and group is None:
            raise ProtocolError("a rank belongs to a group that has a name")
        if tail not in ("drop", "pad"):
            raise ProtocolError(f'tail is "drop" or "pad", not {show(tail)}')
        return cls(
            group=group,
            start=start,
            rank=rank,
            world_size=world_size,
            tail=tail,
            base=_position_or_nil(plain, "base"),
            origin=_position_or_nil(plain, "origin"),
            taken=_positions(plain, "taken"),
            missing=_positions(plain, "missing"),
            returning=plain.get("returning") is True,
            generation=generation if is_count(generation) and generation < MOST_COUNTED else 0,
            held=_positions(plain, "held"),
            acked=_positions(plain, "acked"),
        )


@dataclass(frozen=True)
class Hello:
    """What a client says of itself when it begins a session."""

    stream: str | None = None
    claim: Claim = field(default_factory=Claim)
    canary: tuple[int, str] | None = None
    token: bytes | None = None
    host: str = ""
    pid: int = 0
    version: str = ""
    protocol: int = PROTOCOL
    codecs: tuple[str, ...] = ()
    """What it can decompress, of the names in `wire/compression.py`."""

    def pack(self) -> bytes:
        """The message: the claim's fields stand beside the others, and what is as always is left out."""
        plain = asdict(self)
        claim = plain.pop("claim")
        if not self.codecs:
            del plain["codecs"]
        said = {one.name: claim[one.name] for one in fields(Claim) if getattr(self.claim, one.name) != one.default}
        return pack(HELLO, plain | said)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Hello:
        """The checked contents of a HELLO. Raises `ProtocolError`."""
        protocol = plain.get("protocol")
        if protocol != PROTOCOL:
            raise ProtocolError(f"the client speaks protocol {show(protocol)}, this daemon {PROTOCOL}")
        token, canary, pid = plain.get("token"), plain.get("canary"), plain.get("pid", 0)
        if token is not None and not isinstance(token, bytes):
            raise ProtocolError("token is bytes or nil")
        if canary is not None:
            if not isinstance(canary, list) or len(canary) != 2 or not isinstance(canary[1], str):
                raise ProtocolError(f"canary is [epoch, checksum], not {show(canary)}")
            canary = (position(canary[0], 0, "canary")[0], canary[1][:64])
        return cls(
            stream=name_or_nil(plain, "stream"),
            claim=Claim.from_plain(plain),
            canary=canary,
            token=token,
            host=_text(plain, "host"),
            pid=pid if is_count(pid) else 0,
            version=_text(plain, "version"),
            codecs=_codecs(plain),
        )


def name_or_nil(plain: dict[str, Any], key: str) -> str | None:
    """A checked name, if there is one. Raises `ProtocolError`."""
    name = plain.get(key)
    if name is None or (isinstance(name, str) and is_name(name)):
        return name
    raise ProtocolError(f"{key} is 1 to 64 letters, digits, dots, dashes or underscores, not {show(name)}")


def _text(plain: dict[str, Any], key: str) -> str:
    text = plain.get(key)
    return text[:64] if isinstance(text, str) else ""


def _codecs(plain: dict[str, Any]) -> tuple[str, ...]:
    """Names, of which a newer client may say some that are unknown here."""
    found = plain.get("codecs", [])
    if not isinstance(found, list) or len(found) > _MOST_CODECS or not all(isinstance(one, str) for one in found):
        raise ProtocolError(f"codecs is a list of at most {_MOST_CODECS} names")
    return tuple(found)


def _position_or_nil(plain: dict[str, Any], key: str) -> Position | None:
    found = plain.get(key)
    return None if found is None else _position(found, key)


def _positions(plain: dict[str, Any], key: str) -> tuple[Position, ...]:
    found = plain.get(key, [])
    if not isinstance(found, list) or len(found) > _MOST_POSITIONS:
        raise ProtocolError(f"{key} is a list of at most {_MOST_POSITIONS} positions")
    return tuple(_position(one, key) for one in found)


def _position(found: Any, key: str) -> Position:
    if not isinstance(found, list) or len(found) != 2:
        raise ProtocolError(f"{key} has positions [epoch, index], not {show(found)}")
    return position(found[0], found[1], key)
