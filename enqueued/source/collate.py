"""The default collate: samples to a batch, as torch's default_collate does it, in NumPy alone.

It differs from torch where torch is odd: tuples stay tuples, dataclasses are gone into, anything with `__array__` is an
array, and an error names the path inside the sample.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enqueued.source.failure import a

Path = tuple[str, ...]
"""How to get into a sample, such as ``('["image"]', "[0]")``."""


def default_collate(samples: Sequence[Any]) -> Any:
    """One batch of some samples of equal structure; arrays and numbers gain a first axis of ``len(samples)``.

    Python ints give int64, floats float64, bools bool, complex complex128; str and bytes give a list. Raises ValueError
    when samples do not fit each other and TypeError for what cannot be collated; both name the path.
    """
    if not len(samples):
        raise ValueError("no samples to collate")
    return _collate(samples, ())


def _collate(samples: Sequence[Any], path: Path) -> Any:
    first = samples[0]
    if isinstance(first, (str, bytes)):
        _same_kind(samples, (str, bytes), path)
        return list(samples)
    if isinstance(first, (bool, int, float, complex)) and not isinstance(first, np.generic):
        return _numbers(samples, path)
    if _is_array(type(first)) or _is_torch(type(first)):
        return _stack(samples, path)
    if isinstance(first, Mapping):
        return _mapping(samples, first, path)
    if isinstance(first, (tuple, list)):
        return _sequence(samples, first, path)
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        return _dataclass(samples, first, path)
    raise _unfit(first, path)


def _numbers(samples: Sequence[Any], path: Path) -> Any:
    kinds = set(map(type, samples))
    if not all(issubclass(kind, (bool, int, float, complex, np.generic)) for kind in kinds):
        return _stack(samples, path)
    try:
        if all(issubclass(kind, int) for kind in kinds):
            return np.array(samples, np.bool_ if kinds == {bool} else np.int64)
        return np.array(samples)
    except OverflowError as error:
        raise ValueError(f"{_told(path)}: an int does not fit 64 bits; pass --collate") from error


def _stack(samples: Sequence[Any], path: Path) -> NDArray[Any]:
    arrays = _arrays(samples, path)
    first = arrays[0]
    dtype = first.dtype
    for array in arrays:
        if array.shape != first.shape:
            shapes = f"shapes {first.shape} and {array.shape}"
            raise ValueError(f"{_told(path)}: {shapes} cannot be stacked; pad them or pass --collate")
        if array.dtype != dtype:
            try:
                dtype = np.result_type(dtype, array.dtype)
            except TypeError:
                raise ValueError(
                    f"{_told(path)}: dtypes {dtype} and {array.dtype} cannot be stacked; pass --collate"
                ) from None
    batch = np.empty((len(arrays), *first.shape), dtype)
    for place, array in enumerate(arrays):  # the one copy; np.stack would lose the byte order
        batch[place] = array
    return batch


def _arrays(samples: Sequence[Any], path: Path) -> list[NDArray[Any]]:
    converters = {kind: _converter(kind) for kind in set(map(type, samples))}
    for sample in samples:
        if converters[type(sample)] is None:
            raise _unfit(sample, path)
    return [converters[type(sample)](sample) for sample in samples]


def _converter(kind: type[Any]) -> Any:
    """What turns a value of this type into an array without a copy, or None."""
    if _is_torch(kind):
        return _from_torch
    if _is_array(kind) or issubclass(kind, (int, float, complex)):
        return np.asarray
    return None


def _from_torch(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    try:
        return np.asarray(tensor.numpy())
    except TypeError:  # bfloat16 and float8: NumPy has them from ml_dtypes, torch gives their bits only
        name = str(tensor.dtype).removeprefix("torch.")
        bits = {1: "uint8", 2: "int16"}.get(tensor.element_size(), "")
        try:
            dtype = np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
        except (ImportError, AttributeError):
            raise TypeError(f"NumPy knows no {name}; install enqueued[dtypes] or pass --collate") from None
        return np.asarray(tensor.view(getattr(sys.modules["torch"], bits)).numpy()).view(dtype)


def _is_array(kind: type[Any]) -> bool:
    return issubclass(kind, (np.ndarray, np.generic)) or any(
        hasattr(kind, name) for name in ("__array__", "__array_interface__")
    )


def _is_torch(kind: type[Any]) -> bool:
    """Told by name, so that torch is never imported for this."""
    return any(base.__name__ == "Tensor" and base.__module__.split(".")[0] == "torch" for base in kind.__mro__)


def _mapping(samples: Sequence[Any], first: Mapping[Any, Any], path: Path) -> dict[Any, Any]:
    _same_kind(samples, (Mapping,), path)
    keys = first.keys()
    for sample in samples:
        if sample.keys() != keys:
            odd = sorted(map(repr, sample.keys() ^ keys))
            raise ValueError(f"{_told(path)}: {', '.join(odd)} is not in every sample; pass --collate")
    return {key: _collate([sample[key] for sample in samples], (*path, _key(key))) for key in first}


def _sequence(samples: Sequence[Any], first: Any, path: Path) -> Any:
    _same_kind(samples, (tuple, list), path)
    for sample in samples:
        if len(sample) != len(first):
            raise ValueError(f"{_told(path)}: lengths {len(first)} and {len(sample)} do not fit; pass --collate")
    named = isinstance(first, tuple) and hasattr(first, "_fields")
    steps = [f".{name}" for name in first._fields] if named else [f"[{n}]" for n in range(len(first))]
    parts = [_collate(part, (*path, step)) for part, step in zip(zip(*samples, strict=True), steps, strict=True)]
    if named:
        return type(first)(*parts)
    return tuple(parts) if isinstance(first, tuple) else parts


def _dataclass(samples: Sequence[Any], first: Any, path: Path) -> Any:
    _same_kind(samples, (type(first),), path)
    batch = copy.copy(first)  # not the constructor: a sample's __post_init__ need not accept a batch
    for one in dataclasses.fields(first):
        part = _collate([getattr(sample, one.name) for sample in samples], (*path, f".{one.name}"))
        object.__setattr__(batch, one.name, part)
    return batch


def _same_kind(samples: Sequence[Any], kinds: tuple[type, ...], path: Path) -> None:
    for sample in samples:
        if not isinstance(sample, kinds):
            if sample is None:
                raise _unfit(sample, path)
            raise ValueError(f"{_told(path)}: {a(samples[0])} and {a(sample)} do not fit; pass --collate")


def _unfit(value: Any, path: Path) -> TypeError:
    what = "is None, which" if value is None else f"is of type {type(value).__qualname__}, which"
    return TypeError(f"{_told(path)} {what} cannot be collated; leave it out or pass --collate")


def _told(path: Path) -> str:
    return "sample" + "".join(path)


def _key(key: Any) -> str:
    return f'["{key}"]' if isinstance(key, str) else f"[{key!r}]"
