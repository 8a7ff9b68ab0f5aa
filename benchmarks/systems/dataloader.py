"""PyTorch's DataLoader with one worker over the ready batches, plain and tuned."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.batches import ENDLESS, Ready, Size
from benchmarks.systems import Feed

TUNED: dict[str, dict[str, Any]] = {
    "big": {"prefetch_factor": 8},
    "mid": {"prefetch_factor": 16, "as_they_are": True},
    "small": {"prefetch_factor": 16, "as_they_are": True},
}
"""What helps it most, by trial: more batches under way; arrays through its pipe (pickled), not as shared tensors."""


@contextmanager
def loaded(size: Size, folder: Path, *, tuned: bool = False) -> Iterator[Feed]:
    """Batches of a DataLoader; `batch_size=None`, because the dataset gives whole batches.

    The dataset gives NumPy arrays, which the worker turns into tensors. Tensors made beforehand would flatter it:
    sending one moves it into shared memory for good, and from then on nothing is transported at all.
    """
    data = importlib.import_module("torch.utils.data")  # as a name: torch need not be there, nor its types be checked
    options = dict(TUNED[size.name]) if tuned else {}
    if options.pop("as_they_are", False):
        options["collate_fn"] = as_they_are
    loader = data.DataLoader(Ready(size.name), batch_size=None, num_workers=1, sampler=range(ENDLESS), **options)
    yield Feed(iter(loader))


def as_they_are(batch: Any) -> Any:
    """A collate function that leaves arrays what they are."""
    return batch
