"""The bounds of the encoding, the same on both sides."""

from __future__ import annotations

FORMAT_VERSION = 1
ALIGNMENT = 64

MAX_HEADER_BYTES = 64 * 1024
MAX_DEPTH = 32
MAX_CHILDREN = 4096
"""Children of one container: msgpack makes room for as many items as a header claims, so this bounds its memory."""
MAX_FIELDS = 1024
MAX_NAME_CHARS = 256
MAX_DIMS = 32
MAX_DIM = 2**40
MAX_ITEM_BYTES = 2**31

MEMO_BYTES = 256 * 1024
"""Bytes of headers that are remembered on each side."""
MEMO_ENTRY_BYTES = 16 * 1024


def aligned(size: int) -> int:
    """`size` rounded up to the alignment of leaves."""
    return (size + ALIGNMENT - 1) & -ALIGNMENT
