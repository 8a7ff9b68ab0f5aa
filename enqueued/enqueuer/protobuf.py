"""Protocol Buffers' wire format, as far as one small message needs it, without the library.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

from enqueued.errors import ProtocolError

VARINT, FIXED64, LENGTH, GROUP, END_GROUP, FIXED32 = range(6)

_MOST_VARINT_BYTES = 10
_MOST_GROUPS = 100  # the depth at which protobuf's own parsers give up
_MASK = 2**64 - 1


def encode_varint(value: int) -> bytes:
    """The variable-length form of an integer of 64 bits; negative ones take ten bytes."""
    value &= _MASK
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_field(number: int, payload: bytes) -> bytes:
    """A field of text, bytes or packed numbers."""
    return encode_varint(number << 3 | LENGTH) + encode_varint(len(payload)) + payload


def decode_varint(data: bytes, at: int) -> tuple[int, int]:
    """The integer that begins at `at`, without sign, and where it ends. Raises ProtocolError."""
    value = 0
    for count in range(_MOST_VARINT_BYTES):
        if at + count >= len(data):
            raise ProtocolError(f"the data end at byte {len(data)} within an integer")
        byte = data[at + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value & _MASK, at + count + 1
    raise ProtocolError(f"the integer at byte {at} is longer than {_MOST_VARINT_BYTES} bytes")


def decode_varints(data: bytes) -> Iterator[int]:
    """The integers of a packed field. Raises ProtocolError."""
    at = 0
    while at < len(data):
        value, at = decode_varint(data, at)
        yield value


def decode_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field that is an integer or has a length; passes over others. Raises ProtocolError."""
    at, groups = 0, list[int]()
    while at < len(data):
        began = at
        tag, at = decode_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0 or tag >= 2**32:
            raise ProtocolError(f"{number} at byte {began} is no field number")
        value: int | bytes | None = None
        if kind == VARINT:
            value, at = decode_varint(data, at)
        elif kind == LENGTH:
            size, at = decode_varint(data, at)
            value, at = data[at : at + size], at + size
        elif kind == FIXED64:
            at += 8
        elif kind == FIXED32:
            at += 4
        elif kind == GROUP:
            groups.append(number)
            if len(groups) > _MOST_GROUPS:
                raise ProtocolError(f"groups are nested deeper than {_MOST_GROUPS} at byte {began}")
        elif kind == END_GROUP:
            if not groups or groups.pop() != number:
                raise ProtocolError(f"group {number} ends at byte {began} without having begun")
        else:
            raise ProtocolError(f"{kind} at byte {began} is no kind of field")
        if at > len(data):
            raise ProtocolError(f"the data end at byte {len(data)}, within field {number}, which ends at byte {at}")
        if value is not None and not groups:
            yield number, value
    if groups:
        raise ProtocolError(f"the data end at byte {len(data)} within group {groups[-1]}")
