"""dtypes as plain data, and back through a list of what is allowed.

A builtin dtype travels as its `.str` (``<f4``, ``>i2``, ``<M8[ns]``, ``<U5``), a type of `ml_dtypes` as its name
(``bfloat16``), a structured one as ``[names, formats, offsets, itemsize]`` where a format is a dtype again, or
``[dtype, dims]`` for a subarray. NumPy itself would also take strings for objects and for types whose bytes are
pointers; neither has a form here, so a peer cannot ask for one.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from enqueued.codec.limits import MAX_DEPTH, MAX_DIM, MAX_DIMS, MAX_FIELDS, MAX_ITEM_BYTES, MAX_NAME_CHARS
from enqueued.errors import ProtocolError

Dtype = np.dtype[Any]

ML_DTYPES = frozenset(
    {
        "bfloat16",
        "int1",
        "int2",
        "int4",
        "uint1",
        "uint2",
        "uint4",
        "float4_e2m1fn",
        "float6_e2m3fn",
        "float6_e3m2fn",
        "float8_e3m4",
        "float8_e4m3",
        "float8_e4m3b11fnuz",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
    }
)

_BUILTIN = re.compile(
    r"\|b1|\|[iu]1|[<>][iu][248]|[<>]f[248]|[<>]f1[26]|[<>]c8|[<>]c16|[<>]c24|[<>]c32"
    r"|\|[SV][0-9]{1,10}|[<>]U[0-9]{1,10}|\|U0"
    r"|[<>][mM]8(\[[0-9]{0,10}(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)


def dtype_to_plain(dtype: Dtype) -> Any:
    """The dtype as plain data; a `TypeError` that says what is wrong when it cannot travel."""
    if dtype.hasobject:
        raise TypeError("an array of Python objects; make it an array of numbers or strings (astype)")
    if dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names] if dtype.fields is not None else []
        formats = [_format_to_plain(field[0]) for field in fields]
        return [list(dtype.names), formats, [int(field[1]) for field in fields], dtype.itemsize]
    if dtype.type.__module__.partition(".")[0] == "ml_dtypes":
        if dtype.name in ML_DTYPES and dtype == np.dtype(dtype.type):
            return dtype.name
    elif _BUILTIN.fullmatch(dtype.str) and dtype == np.dtype(dtype.str):
        return dtype.str
    raise TypeError(f"an array of dtype {dtype}, which has no form outside this process; use a dtype of NumPy")


def _format_to_plain(dtype: Dtype) -> Any:
    if dtype.subdtype is None:
        return dtype_to_plain(dtype)
    base, dims = dtype.subdtype
    return [dtype_to_plain(base), list(dims)]


def dtype_from_plain(plain: Any, depth: int = 0) -> Dtype:
    """The dtype that `plain` describes; `ProtocolError` for all that this module does not write."""
    if isinstance(plain, str):
        return _named(plain)
    if depth > MAX_DEPTH:
        raise ProtocolError(f"a dtype is nested deeper than {MAX_DEPTH} levels")
    if not isinstance(plain, list) or len(plain) != 4:
        raise ProtocolError("a dtype is neither a name nor the description of a structured dtype")
    names, formats, offsets, itemsize = plain
    if not (isinstance(names, list) and isinstance(formats, list) and isinstance(offsets, list)):
        raise ProtocolError("a structured dtype is not made of lists")
    if not len(names) == len(formats) == len(offsets) <= MAX_FIELDS:
        raise ProtocolError(f"a structured dtype has unequal lists, or more than {MAX_FIELDS} fields")
    if not all(isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARS for name in names):
        raise ProtocolError("a structured dtype has a field without a proper name")
    if not _is_int(itemsize, MAX_ITEM_BYTES):
        raise ProtocolError(f"a structured dtype has the itemsize {itemsize!r}")
    fields = [_format_from_plain(form, depth) for form in formats]
    for field, offset in zip(fields, offsets, strict=True):
        if not _is_int(offset, MAX_ITEM_BYTES) or offset + field.itemsize > itemsize:
            raise ProtocolError(f"a field of a structured dtype lies outside its {itemsize} bytes")
    description = {"names": names, "formats": fields, "offsets": offsets, "itemsize": itemsize}
    try:
        dtype: Dtype = np.dtype(description)  # type: ignore[call-overload]  # mypy knows only the literal form
    except (ValueError, TypeError) as error:
        raise ProtocolError(f"a structured dtype does not hold together: {error}") from None
    return _checked(dtype, itemsize)


def _format_from_plain(plain: Any, depth: int) -> Dtype:
    if not isinstance(plain, list) or len(plain) != 2:
        return dtype_from_plain(plain, depth + 1)
    base = dtype_from_plain(plain[0], depth + 1)
    dims = shape_from_plain(plain[1])
    size = room(dims, base.itemsize)
    if size >= MAX_ITEM_BYTES:
        raise ProtocolError(f"a field of a structured dtype takes {size} bytes")
    try:
        return _checked(np.dtype((base, dims)), size)
    except (ValueError, TypeError) as error:
        raise ProtocolError(f"a field of a structured dtype does not hold together: {error}") from None


def _named(name: str) -> Dtype:
    if name in ML_DTYPES:
        return _ml_dtype(name)
    if not _BUILTIN.fullmatch(name):
        raise ProtocolError(f"the dtype {name[:40]!r} is not one that travels")
    try:
        dtype = np.dtype(name)
    except (ValueError, TypeError, OverflowError) as error:
        raise ProtocolError(f"the dtype {name!r} is not known here: {error}") from None
    if dtype.str != name:
        raise ProtocolError(f"the dtype {name!r} is not written as {dtype.str!r}")
    return _checked(dtype, dtype.itemsize)


def _checked(dtype: Dtype, itemsize: int) -> Dtype:
    """The last look at a dtype from a peer, whatever led here: no pointers, and the size that was counted with."""
    if dtype.hasobject or dtype.itemsize != itemsize or not 0 <= itemsize < MAX_ITEM_BYTES:
        raise ProtocolError(f"the dtype {str(dtype)[:40]!r} is not one that travels")
    return dtype


def _ml_dtype(name: str) -> Dtype:
    try:
        import ml_dtypes  # only where such a batch comes: it is an extra
    except ImportError:
        raise ProtocolError(
            f'the batch holds {name}, which needs ml_dtypes here: pip install "enqueued[dtypes]"'
        ) from None
    found = getattr(ml_dtypes, name, None)
    if found is None:
        raise ProtocolError(f"the batch holds {name}, which this ml_dtypes does not have: upgrade ml_dtypes")
    dtype: Dtype = np.dtype(found)
    return dtype


def shape_from_plain(plain: Any) -> tuple[int, ...]:
    """The dimensions that a peer names, checked against the bounds."""
    if not isinstance(plain, list) or len(plain) > MAX_DIMS:
        raise ProtocolError(f"a shape is not a list of at most {MAX_DIMS} dimensions")
    if not all(_is_int(dim, MAX_DIM) for dim in plain):
        raise ProtocolError("a shape has a dimension that is not a whole number in bounds")
    shape = tuple(plain)
    if not fits(shape):
        raise ProtocolError("a shape has more items than can be counted")
    return shape


def fits(shape: tuple[int, ...]) -> bool:
    """Whether a shape is in bounds.

    NumPy itself does not count the items of an array whose items, or one of whose dimensions, take no room: such an
    array could have a size that overflows.
    """
    count = 1
    for dim in shape:
        count *= dim or 1
    return len(shape) <= MAX_DIMS and count < 2**62 and all(dim < MAX_DIM for dim in shape)


def room(shape: tuple[int, ...], itemsize: int) -> int:
    """Bytes of an array, counted in Python's integers, which do not overflow."""
    size = itemsize
    for dim in shape:
        size *= dim
    return size


def _is_int(value: Any, limit: int) -> bool:
    return type(value) is int and 0 <= value < limit
