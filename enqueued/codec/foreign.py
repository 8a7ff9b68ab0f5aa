"""Arrays that are not plain NumPy arrays: subclasses, torch tensors, and whatever else can become one."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from enqueued.codec.tokens import Rejected

Array = np.ndarray[Any, Any]

_AS_ML_DTYPE = {
    "torch.bfloat16": "bfloat16",
    "torch.float8_e4m3fn": "float8_e4m3fn",
    "torch.float8_e4m3fnuz": "float8_e4m3fnuz",
    "torch.float8_e5m2": "float8_e5m2",
    "torch.float8_e5m2fnuz": "float8_e5m2fnuz",
    "torch.float8_e8m0fnu": "float8_e8m0fnu",
}
"""What torch has and NumPy has not: these bits go over unchanged."""


def as_array(thing: Any) -> Array | None:
    """The array that `thing` is or can be without loss, or None; `Rejected` where it is one but must not travel so.

    Never imports torch: a tensor can only be here when its library is loaded already.
    """
    if isinstance(thing, np.ndarray):
        masked = sys.modules.get("numpy.ma")
        if masked is not None and isinstance(thing, masked.MaskedArray):
            raise Rejected("a masked array; its mask would be lost, so fill it: array.filled(value)")
        return np.asarray(thing)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(thing, torch.Tensor):
        return _from_torch(thing, torch)
    if hasattr(type(thing), "__array__") or hasattr(type(thing), "__array_interface__"):
        return _converted(thing, np.asarray)
    if hasattr(type(thing), "__dlpack__"):
        return _converted(thing, np.from_dlpack)
    return None


def _converted(thing: Any, convert: Any) -> Array:
    try:
        array = convert(thing)
    except Exception as error:  # a foreign library's: there is no telling which
        raise Rejected(
            f"a {type_name(thing)} that does not become an array ({type(error).__name__}: {error});"
            " make it a NumPy array in CPU memory in the source"
        ) from None
    return np.asarray(array)


def _from_torch(tensor: Any, torch: Any) -> Array:
    if tensor.device.type != "cpu":
        raise Rejected(f"a tensor on {tensor.device}; move it to the CPU in the source: tensor.cpu()")
    if tensor.layout != torch.strided:
        raise Rejected(f"a tensor of layout {tensor.layout}; make it dense in the source: tensor.to_dense()")
    tensor = tensor.detach()
    name = _AS_ML_DTYPE.get(str(tensor.dtype))
    try:
        if name is not None:
            bits = tensor.view(torch.int16 if name == "bfloat16" else torch.uint8).numpy()
        else:
            array: Array = tensor.resolve_conj().resolve_neg().numpy()
            return array
    except (RuntimeError, TypeError) as error:
        raise Rejected(f"a tensor of {tensor.dtype} that does not become an array ({error})") from None
    try:
        import ml_dtypes  # only where such a tensor comes: it is an extra
    except ImportError:
        raise Rejected(f'a tensor of {tensor.dtype}, which needs ml_dtypes: pip install "enqueued[dtypes]"') from None
    found = getattr(ml_dtypes, name, None)
    if found is None:
        raise Rejected(f"a tensor of {tensor.dtype}, which this ml_dtypes does not have: upgrade ml_dtypes")
    viewed: Array = bits.view(found)
    return viewed


def type_name(thing: Any) -> str:
    """The name of a thing's type as its user would write it."""
    kind = type(thing)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
