"""Datasets of other libraries, as they are."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(150)

PROGRAM = """
import sys
import enqueued

{dataset}

if __name__ == "__main__":
    for use_multiprocessing in (False, True):
        for dataset in datasets():
            with enqueued.OrderedEnqueuer(dataset, use_multiprocessing) as enqueuer:
                enqueuer.start(2)
                batches = enqueuer.get()
                print([number(next(batches)) for _ in range(5)])
"""
KERAS = """
import keras, numpy

class Keras2(keras.utils.Sequence):
    def __len__(self): return 3
    def __getitem__(self, index): return numpy.array([index])
    def on_epoch_end(self): pass

class Keras3(keras.utils.PyDataset):
    begun = 0
    num_batches = property(lambda self: 2)
    def __getitem__(self, index): return numpy.array([10 * self.begun + index])
    def on_epoch_begin(self): self.begun += 1

def datasets(): return Keras2(), Keras3()
def number(batch): return int(batch[0])
"""
TORCH = """
import torch

class Map(torch.utils.data.Dataset):
    def __len__(self): return 3
    def __getitem__(self, index): return torch.tensor([index]), "text"

def datasets(): return torch.utils.data.TensorDataset(torch.arange(3)), Map()
def number(batch): return int(batch[0])
"""


@pytest.mark.parametrize(
    ("library", "dataset", "expected"),
    [
        ("keras", KERAS, ["[0, 1, 2, 0, 1]", "[10, 11, 20, 21, 30]"]),
        ("torch", TORCH, ["[0, 1, 2, 0, 1]", "[0, 1, 2, 0, 1]"]),
    ],
)
def test_datasets_are_sequences(library: str, dataset: str, expected: list[str], tmp_path: Path) -> None:
    """Whatever has a length and batches by number; what their base classes do is no hook."""
    for needed in {library, "torch"}:
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not here")
    file = tmp_path / "program.py"
    file.write_text(PROGRAM.format(dataset=dataset))
    environ = {**os.environ, "KERAS_BACKEND": "torch", "KERAS_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, timeout=140, check=False, env=environ
    )
    assert (done.returncode, done.stdout.splitlines()) == (0, 2 * expected), done.stderr
