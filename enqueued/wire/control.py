"""What is said over the control socket, as `PROTOCOL.md` describes it: one request, one answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import msgpack

from enqueued.errors import ProtocolError
from enqueued.wire.hello import name_or_nil
from enqueued.wire.messages import is_count, position, show

CONTROL = ".control"
"""What is added to the path of the ipc socket to get that of the control socket."""
MOST_BYTES = 64 * 1024
"""The largest request and the largest answer."""
_MOST_ERROR = 48 * 1024
"""How much of an error is told, in bytes."""

GROUPS, RESET, RM, RELOAD, LOADING = "groups", "reset", "rm", "reload", "loading"
VERBS = (GROUPS, RESET, RM, RELOAD, LOADING)


@dataclass(frozen=True)
class Request:
    """One request: a verb, and those of the other fields that it has a use for. Raises `ProtocolError`."""

    verb: str
    stream: str | None = None
    group: str | None = None
    epoch: int = 0
    index: int = 0
    first: int = 0
    at_once: bool = False

    def __post_init__(self) -> None:
        if self.verb not in VERBS:
            raise ProtocolError(f"there is no request {show(self.verb)}; there are {', '.join(VERBS)}")
        name_or_nil(vars(self), "stream")
        if name_or_nil(vars(self), "group") is None and self.verb in (RESET, RM):
            raise ProtocolError(f"{self.verb} needs the name of a group")
        position(self.epoch, self.index, "the place to go to")
        if not is_count(self.first):
            raise ProtocolError(f"first is a number of rows, not {show(self.first)}")
        if not isinstance(self.at_once, bool):
            raise ProtocolError(f"at_once is true or false, not {show(self.at_once)}")

    def pack(self) -> bytes:
        """The request as a packet."""
        packed: bytes = msgpack.packb(asdict(self))
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> Request:
        """The request in a packet that may be any bytes. Raises `ProtocolError`."""
        plain = _read(data)
        return cls(**{"verb": None, **{one.name: plain[one.name] for one in fields(cls) if one.name in plain}})


def pack_answer(value: object) -> bytes:
    """The answer to a request that was carried out."""
    packed: bytes = msgpack.packb({"ok": value})
    return packed


def pack_error(text: str) -> bytes:
    """The answer to a request that was not."""
    packed: bytes = msgpack.packb({"error": text.encode(errors="replace")[:_MOST_ERROR].decode(errors="ignore")})
    return packed


def unpack_answer(data: bytes) -> tuple[Any, str | None]:
    """The value of an answer, or its error. Raises `ProtocolError`."""
    plain = _read(data)
    if isinstance(error := plain.get("error"), str):
        return None, error
    if "ok" not in plain:
        raise ProtocolError(f"an answer has ok or error: {show(plain)}")
    return plain["ok"], None


def _read(data: bytes) -> dict[str, Any]:
    if len(data) > MOST_BYTES:
        raise ProtocolError(f"a packet of more than {MOST_BYTES} bytes")
    try:
        plain = msgpack.unpackb(data, strict_map_key=True)
    except Exception as error:  # msgpack raises many kinds, ValueError and UnicodeDecodeError among them
        raise ProtocolError(f"not msgpack: {error}") from None
    if not isinstance(plain, dict):
        raise ProtocolError(f"a packet is a map, not {show(plain)}")
    return plain
