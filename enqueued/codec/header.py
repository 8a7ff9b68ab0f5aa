"""The first bytes of a batch: two little-endian u32 (length of the header, version), the msgpack header, padding.

msgpack stays behind this border.
"""

from __future__ import annotations

import struct
from typing import Any

import msgpack

from enqueued.codec.limits import FORMAT_VERSION, MAX_CHILDREN, MAX_HEADER_BYTES, aligned
from enqueued.errors import ProtocolError

PREFIX_BYTES = 8
_prefix = struct.Struct("<II")


def pack(value: Any) -> bytes:
    """Plain data as msgpack; strings may hold lone surrogates, as file names do."""
    packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return packed


def pack_prefix(header: bytes) -> bytes:
    """All bytes before the body."""
    return (_prefix.pack(len(header), FORMAT_VERSION) + header).ljust(aligned(PREFIX_BYTES + len(header)), b"\0")


def unpack_length(prefix: bytes) -> int:
    """The length of the header that the first eight bytes announce; `ProtocolError` when it cannot be read here."""
    length, version = _prefix.unpack(prefix)
    if version != FORMAT_VERSION:
        raise ProtocolError(f"a batch in format {version}, and this side reads format {FORMAT_VERSION}")
    if length > MAX_HEADER_BYTES:
        raise ProtocolError(f"a header of {length} bytes, more than {MAX_HEADER_BYTES}")
    return int(length)


def unpack(header: bytes) -> Any:
    """The plain data of a header from a peer, with bounds on what it makes room for."""
    try:
        return msgpack.unpackb(
            header,
            unicode_errors="surrogatepass",
            strict_map_key=True,
            max_array_len=MAX_CHILDREN,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise ProtocolError(f"a header is not what msgpack reads: {type(error).__name__}: {error}"[:200]) from None
