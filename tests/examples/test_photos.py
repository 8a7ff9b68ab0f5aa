from __future__ import annotations

import importlib
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for needed in ("sklearn", "PIL"):
    pytest.importorskip(needed, reason=f"the examples need {needed}: pip install 'enqueued[demo]'")

HOUSE = Path(__file__).parents[2]


@pytest.fixture
def photos(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example, imported as the daemon imports it with ``--app-dir examples``."""
    monkeypatch.syspath_prepend(str(HOUSE / "examples"))
    return importlib.import_module("photos")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten JPEGs, made with the command that the example names."""
    made = tmp_path_factory.mktemp("photos")
    command = [sys.executable, "examples/photos.py", "make", str(made), "--count", "10"]
    subprocess.run(command, cwd=HOUSE, check=True, capture_output=True, timeout=50)
    return made


def test_make_gives_the_same_pictures_every_time(photos: Any, folder: Path, tmp_path: Path) -> None:
    """The folder is a function of its count, and its files are of the size that ImageNet's have."""
    size = photos.make(tmp_path, 10)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    assert 70_000 < size / 10 < 150_000


def test_turning_leaves_no_black_corners(photos: Any) -> None:
    """However a photograph is turned and cut, nothing from beyond its edges is in the picture."""
    white = photos.Image.new("RGB", (640, 427), "white")
    assert all(np.asarray(photos.vary(white, random.Random(seed))).min() > 150 for seed in range(50))


def test_batches_are_normalised_and_mixed(photos: Any, folder: Path) -> None:
    """A batch is float32 around 0, in the layout that was asked for, with both labels."""
    random.seed(3)
    source = photos.Photos(str(folder), batch_size=8, size=64)
    x, y = source[0]
    assert len(source) == 1
    assert (x.shape, x.dtype, y.dtype) == ((8, 64, 64, 3), np.float32, np.int64)
    assert -2.2 < x.min() < x.max() < 2.7
    assert set(y) == {0, 1}
    random.seed(3)
    other, _ = photos.Photos(str(folder), batch_size=8, size=64, layout="NCHW")[0]
    assert other.flags.c_contiguous
    assert np.array_equal(other, x.transpose(0, 3, 1, 2))


def test_batches_follow_the_global_generator(photos: Any, folder: Path) -> None:
    """Equal seeds give equal crops, and other seeds others."""
    source = photos.Photos(str(folder), batch_size=4, size=32)

    def first(seed: int) -> np.ndarray:
        random.seed(seed)
        x: np.ndarray = source[0][0]
        return x

    assert np.array_equal(first(1), first(1))
    assert not np.array_equal(first(1), first(2))


def test_folder_with_too_few_pictures_is_refused(photos: Any, folder: Path) -> None:
    """A source that could never give a batch says so when it is built."""
    with pytest.raises(ValueError, match="has 10 JPEGs, and a batch takes 32"):
        photos.Photos(str(folder))
