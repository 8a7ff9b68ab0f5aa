"""In which leaves two batches differ, and how: bits are compared, not values."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

_NOUNS = {"b": "values", "S": "texts", "U": "texts", "T": "texts", "M": "times", "m": "times", "V": "values"}
_SHOWN = 60
"""Characters of a text, or of a list of keys, that are shown."""
_LONG_BITS = 2000
"""An int of more bits is shown in hexadecimal: Python does not write just any number of decimal digits."""
_X87_BYTES = 10
"""What of a long double are bits of the number; the rest of its room is whatever lay there."""


@dataclass(frozen=True)
class Difference:
    """One leaf that differs: its path, such as ``batch[0]["x"]``, and how."""

    path: str
    how: str

    def __str__(self) -> str:
        return f"{self.path}: {self.how}"


def differences(one: Any, other: Any, path: str = "batch") -> Iterator[Difference]:
    """Where two batches, as they are decoded, are not the same to the bit; nothing when they are.

    NaNs with the same bits are the same, 0.0 and -0.0 are not, nor are 1 and True. What lies between the fields of a
    structured array is not looked at.
    """
    kind, other_kind = _kind(one), _kind(other)
    if kind != other_kind:
        yield Difference(path, f"{kind} and {other_kind}")
    elif isinstance(one, np.ndarray):
        if one.dtype != other.dtype:
            yield Difference(path, f"dtype {one.dtype} and {other.dtype}")
        elif one.shape != other.shape:
            yield Difference(path, f"shape {one.shape} and {other.shape}")
        else:
            yield from _of_arrays(one, other, path)
    elif isinstance(one, np.generic) and not isinstance(one, str | bytes):
        yield from _of_arrays(np.asarray(one), np.asarray(other), path)
    elif isinstance(one, dict):
        yield from _of_dicts(one, other, path)
    elif (parts := children(one)) is not None:
        for (step, child), (_, twin) in zip(parts, children(other) or (), strict=True):
            yield from differences(child, twin, path + step)
    elif _bits(one) != _bits(other):
        yield Difference(path, _two(one, other))


def _kind(node: Any) -> str:
    """What must be equal before anything below is compared, in words."""
    if isinstance(node, np.ndarray):
        return "an array"
    if isinstance(node, np.generic) and not isinstance(node, str | bytes):
        return f"a NumPy {node.dtype}"
    name = type(node).__name__
    if isinstance(node, dict):
        return "a dict"
    parts = children(node)
    if parts is None:
        return "None" if node is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    names = "" if isinstance(node, list) or type(node) is tuple else f" with {', '.join(step for step, _ in parts)}"
    return f"a {name} of {len(parts)}{names}"


def children(node: Any) -> list[tuple[str, Any]] | None:
    """The parts of a list, tuple or record with the step of the path to each, or None for a leaf."""
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return [(f".{name}", child) for name, child in zip(node._fields, node, strict=True)]
    if isinstance(node, list | tuple):
        return [(f"[{place}]", child) for place, child in enumerate(node)]
    if is_dataclass(node) and not isinstance(node, type):
        return [(f".{field.name}", getattr(node, field.name)) for field in fields(node)]
    return None


def _of_dicts(one: dict[Any, Any], other: dict[Any, Any], path: str) -> Iterator[Difference]:
    steps, other_steps = [key_step(key) for key in one], [key_step(key) for key in other]
    if set(steps) != set(other_steps):
        yield Difference(path, f"other keys: {_listed(steps)} and {_listed(other_steps)}")
        return
    if steps != other_steps:
        yield Difference(path, f"the keys in another order: {_listed(steps)} and {_listed(other_steps)}")
    twins = dict(zip(other_steps, other.values(), strict=True))
    for step, child in zip(steps, one.values(), strict=True):
        yield from differences(child, twins[step], path + step)


def key_step(key: Any) -> str:
    """The step of the path to what a dict has under a key."""
    return '["' + key.replace('"', '\\"') + '"]' if isinstance(key, str) else f"[{key!r}]"


def _listed(steps: list[str]) -> str:
    return _short(", ".join(step[1:-1] for step in steps) or "none")


def _of_arrays(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], path: str) -> Iterator[Difference]:
    if one.dtype.names is not None:
        for name in one.dtype.names:
            yield from _of_arrays(one[name], other[name], path + key_step(name))
        return
    unequal = _unequal(one, other)
    count = int(unequal.sum())
    if not count:
        return
    first = int(unequal.argmax())
    values = _two(one.reshape(-1)[first], other.reshape(-1)[first])
    if one.ndim == 0:
        yield Difference(path, values)
        return
    where = ", ".join(str(int(place)) for place in np.unravel_index(first, one.shape))
    noun = _NOUNS.get(one.dtype.kind, "numbers")
    yield Difference(path, f"{count} of {one.size} {noun} differ, first at [{where}]: {values}")


def _unequal(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """For each item, in C order, whether its bits differ."""
    if one.dtype.kind == "T":  # its bytes are pointers
        pairs = zip(one.reshape(-1).tolist(), other.reshape(-1).tolist(), strict=True)
        return np.array([_bits(left) != _bits(right) for left, right in pairs], np.bool_)
    size = one.dtype.itemsize
    if not size or not one.size:
        return np.zeros(one.size, np.bool_)
    bits, other_bits = (np.frombuffer(array.tobytes(), np.uint8).reshape(-1, size) for array in (one, other))
    unequal = bits != other_bits
    part = size // 2 if one.dtype.kind == "c" else size
    if one.dtype.kind in "fc" and part > _X87_BYTES and np.finfo(one.dtype).nmant == 63:
        padding = np.arange(size) % part >= _X87_BYTES
        unequal &= padding[::-1] if one.dtype.str[0] == ">" else ~padding
    found: np.ndarray[Any, np.dtype[np.bool_]] = unequal.any(axis=1)
    return found


def _bits(value: Any) -> Any:
    """What is equal for two plain values exactly when they are the same; NaN is not even equal to itself."""
    if isinstance(value, float):
        return float, struct.pack("<d", value)
    if isinstance(value, complex):
        return complex, struct.pack("<dd", value.real, value.imag)
    return type(value), value


def _two(one: Any, other: Any) -> str:
    """Both values, so that they can be told apart."""
    shown = [_shown(one), _shown(other)]
    if shown[0] == shown[1]:  # NaNs with other bits
        shown = [
            f"{text} (0x{np.asarray(it).tobytes()[::-1].hex()})" for text, it in zip(shown, (one, other), strict=True)
        ]
    if max(map(len, shown)) > _SHOWN:
        pairs = enumerate(zip(*shown, strict=False))
        place = next((place for place, (left, right) in pairs if left != right), min(map(len, shown)))
        start = max(0, place - 10)  # from shortly before the first place where they differ
        shown = [_short(("..." if start else "") + text[start:]) for text in shown]
    return f"{shown[0]} and {shown[1]}"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(str(value))
    if isinstance(value, bytes):
        return repr(bytes(value))
    if isinstance(value, int) and value.bit_length() > _LONG_BITS:
        return hex(value)
    return str(value)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
