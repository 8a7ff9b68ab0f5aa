"""NumPy's StringDType: its bytes are pointers, so its texts are written out and read back one by one.

The room of an array of N strings holds N little-endian int64 lengths in bytes (-1: missing) and then the UTF-8 of
all of them, back to back.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from enqueued.codec.dtypes import room
from enqueued.errors import ProtocolError

UNSET = False
"""Stands for a dtype without a missing value, where None is a missing value itself."""


def pack_strings(array: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], Any, bool]:
    """The bytes of a StringDType array, its missing value (False, None, NaN or a str) and whether it coerces.

    Raises `TypeError` when the missing value is another object, which could not travel.
    """
    dtype: Any = array.dtype
    missing = getattr(dtype, "na_object", UNSET)
    is_nan = isinstance(missing, float) and math.isnan(missing)
    if not (missing is UNSET or missing is None or is_nan or isinstance(missing, str)):
        raise TypeError(f"an array of strings with the missing value {missing!r}; use None, NaN or a string")
    items = array.reshape(-1).tolist()
    texts = [item.encode() if isinstance(item, str) else None for item in items]
    lengths = np.array([-1 if text is None else len(text) for text in texts], dtype="<i8")
    packed = lengths.tobytes() + b"".join(text for text in texts if text is not None)
    return np.frombuffer(packed, np.uint8), missing, bool(dtype.coerce)


def string_dtype(missing: Any, coerce: Any) -> Any:
    """The StringDType with this missing value; `ProtocolError` where NumPy has none."""
    is_nan = isinstance(missing, float) and math.isnan(missing)
    if not (missing is UNSET or missing is None or is_nan or isinstance(missing, str)) or type(coerce) is not bool:
        raise ProtocolError("an array of strings has a missing value that does not travel")
    dtypes = getattr(np, "dtypes", None)
    if not hasattr(dtypes, "StringDType"):
        raise ProtocolError("the batch holds an array of StringDType, which needs NumPy 2 here")
    if missing is UNSET:
        return np.dtypes.StringDType(coerce=coerce)
    return np.dtypes.StringDType(na_object=np.nan if is_nan else missing, coerce=coerce)


def unpack_strings(packed: bytes, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """The StringDType array that `packed` holds; `ProtocolError` when its lengths do not add up."""
    count = room(shape, 1)
    if 8 * count > len(packed):
        raise ProtocolError(f"an array of {count} strings does not fit into its {len(packed)} bytes")
    lengths = np.frombuffer(packed, "<i8", count).tolist()
    missing = getattr(dtype, "na_object", UNSET)
    texts: list[Any] = []
    start = 8 * count
    for length in lengths:
        if length == -1 and missing is not UNSET:
            texts.append(missing)
            continue
        if not 0 <= length <= len(packed) - start:
            raise ProtocolError(f"an array of strings holds one of {length} bytes where none fits")
        try:
            texts.append(packed[start : start + length].decode())
        except UnicodeDecodeError as error:
            raise ProtocolError(f"an array of strings holds one that is not UTF-8: {error}") from None
        start += length
    if start != len(packed):
        raise ProtocolError("an array of strings does not fill its room")
    return np.array(texts, dtype=dtype).reshape(shape)
