"""Arrays that lie in the batch's slot already, so that what is built in them is never copied."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

if TYPE_CHECKING:
    import numpy as np

Place = Callable[[tuple[int, ...], "np.dtype[Any]"], "np.ndarray[Any, Any] | None"]


class _Here(threading.local):
    """Where this thread builds."""

    place: Place | None = None


_here = _Here()


def build_in(place: Place | None) -> None:
    """Have `empty` ask `place` for memory in this thread; it gives None when it has none that fits."""
    _here.place = place


def empty(shape: SupportsIndex | Sequence[SupportsIndex], dtype: Any = float) -> np.ndarray[Any, Any]:
    """An array for a batch that is being made, without contents, as `numpy.empty` gives one.

    In a worker it lies where the batch will lie, if the batch is like the one before it in structure, shapes and
    dtypes: return it as a leaf of the batch, and it is not copied. Everywhere else, and whenever it does not fit, it is
    an array like any other, so a source works the same with it. It belongs to this one batch: a source that keeps it
    pays for a copy.
    """
    import numpy as np

    kind = np.dtype(dtype)
    sizes = tuple(map(operator.index, shape)) if isinstance(shape, Sequence) else (operator.index(shape),)
    place = _here.place
    made = None if place is None else place(sizes, kind)
    return np.empty(sizes, kind) if made is None else made
