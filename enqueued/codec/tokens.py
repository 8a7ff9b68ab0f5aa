"""The tokens of a batch: what `tree` writes down while it walks one, and `layout` reads to lay it out.

The tokens of a batch are a flat prefix code of all that its header depends on; as a tuple they are the key under
which its layout is remembered. Equal tokens must mean equal headers, so values that Python calls equal but are not
the same (1, True and 1.0; 0.0 and -0.0) are told apart by their tags or kept as bytes.

An array is its dtype and its shape; everything else begins with one of these tags::

    TUPLE n, children...       LIST n, children...
    DICT keys, children...     KEYED keys, types of keys, children...     (KEYED where a key is not a str)
    NAMED class, fields, children...            DATA class, fields, children...
    SCALAR dtype               LETTERS class, value                       (NumPy's; LETTERS: np.str_ and np.bytes_)
    NONE    BOOL value    INT value    STR value    BYTES value    FLOAT 8 bytes    COMPLEX 16 bytes
    LONG_STR length            LONG_BYTES length                          (these lie in the body)
    STRINGS shape, length, missing, coerce                                (StringDType, packed)
"""

from __future__ import annotations

import struct
from typing import Any

(
    TUPLE,
    LIST,
    DICT,
    KEYED,
    NAMED,
    DATA,
    SCALAR,
    LETTERS,
    NONE,
    BOOL,
    INT,
    STR,
    BYTES,
    FLOAT,
    COMPLEX,
    LONG_STR,
    LONG_BYTES,
    STRINGS,
) = range(18)

LONG = 128
"""A str or bytes longer than this lies in the body, where it neither fills the header nor changes its bytes."""

float_bits = struct.Struct("<d")
complex_bits = struct.Struct("<dd")


class Rejected(Exception):
    """Something in a batch cannot travel; on its way up it collects the steps of the path, innermost first."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.steps: list[str] = []

    def __str__(self) -> str:
        return f"batch{''.join(reversed(self.steps))}: {self.message}"


def key_step(key: Any) -> str:
    """The step of a path that leads to a dict's value; a key of any length is shown in one line."""
    text = repr(key)
    if text[0] == "'" and '"' not in text:
        text = f'"{text[1:-1]}"'
    return f"[{text}]" if len(text) <= 80 else f"[{text[:76]}...]"
