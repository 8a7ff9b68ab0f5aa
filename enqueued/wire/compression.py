"""Frames made smaller for slow connections: the only file that knows zstd, which is the extra `compress`.

The library is that of Python 3.14, or its backport. Where there is none nothing is compressed.
"""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType
from typing import Any

from enqueued.errors import ProtocolError

ZSTD = "zstd"
LEAST_BYTES = 4096
"""A frame below this is not worth the trouble."""
_LEVEL = 1
_MOST_WINDOW_LOG = 23
"""RFC 8878 asks of a decoder that it has room for so much, and it need not have more."""
_MOST_RATIO = 256
_MOST_UNASKED = 64 << 20
"""What a small frame may become all the same: batches of nothing but zeros are smaller by any factor."""
_MOST_KEPT = 0.9


@cache
def codecs() -> tuple[str, ...]:
    """What can be read and written here."""
    return () if _library() is None else (ZSTD,)


@cache
def _library() -> ModuleType | None:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd  # only where somebody is served by socket: it is an extra
    except ImportError:
        return None
    return zstd  # type: ignore[no-any-return,unused-ignore]  # where it is not installed it has no type


def compress(frame: memoryview) -> bytes | None:
    """A smaller frame; None where that saves less than a tenth. Other threads run meanwhile."""
    zstd = _library()
    if zstd is None or frame.nbytes < LEAST_BYTES:
        return None
    try:
        found: bytes = zstd.compress(frame, _LEVEL)
    except (zstd.ZstdError, MemoryError):
        return None
    kept = len(found) <= _MOST_KEPT * frame.nbytes and frame.nbytes <= _most(len(found))
    return found if kept else None


class Compressed:
    """A frame as it came; `buffer` is what it was before. Raises `ProtocolError` for one that cannot be."""

    __slots__ = ("_frame", "_nbytes")

    def __init__(self, frame: memoryview, codec: Any, nbytes: Any) -> None:
        if codec not in codecs():
            raise ProtocolError("the daemon compresses in a way that it was not told of")
        if type(nbytes) is not int or not 0 < nbytes <= _most(frame.nbytes):
            raise ProtocolError(f"a frame of {frame.nbytes} bytes cannot become one of that size")
        self._frame = frame
        self._nbytes = nbytes

    def __len__(self) -> int:
        return self._nbytes

    @property
    def buffer(self) -> bytearray:
        """The bytes; no more memory is taken than was announced, whatever the frame holds."""
        zstd = _library()
        assert zstd is not None
        options = {zstd.DecompressionParameter.window_log_max: _MOST_WINDOW_LOG}
        decompressor = zstd.ZstdDecompressor(options=options)
        try:
            found = bytearray(decompressor.decompress(self._frame, self._nbytes + 1))
        except (zstd.ZstdError, MemoryError) as error:
            raise ProtocolError(f"a frame cannot be decompressed: {error}") from None
        if len(found) != self._nbytes or not decompressor.eof or decompressor.unused_data:
            raise ProtocolError(f"a frame does not decompress to the {self._nbytes} bytes that were announced")
        return found


def _most(nbytes: int) -> int:
    """The most that a frame of so many bytes may become."""
    return max(_MOST_UNASKED, _MOST_RATIO * nbytes)
