from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the examples need scikit-learn: pip install 'enqueued[demo]'")

HOUSE = Path(__file__).parents[2]


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example, imported as the daemon imports it with ``--app-dir examples``."""
    monkeypatch.syspath_prepend(str(HOUSE / "examples"))
    return importlib.import_module("digits")


def test_batches_have_the_shapes_that_they_promise(digits: Any) -> None:
    """An epoch holds every image of its split once, as float32 and int64."""
    train, held_out = digits.Digits(), digits.Digits("held-out", 100)
    x, y = train[0]
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((64, 8, 8), np.float32, (64,), np.int64)
    assert sum(len(train[index][1]) for index in range(len(train))) == 1437
    assert sum(len(held_out[index][1]) for index in range(len(held_out))) == 360


def test_no_image_is_both_trained_on_and_held_out(digits: Any) -> None:
    """The two splits are disjoint, and the same in every process."""
    train, held_out = digits.Digits(), digits.Digits("held-out")
    together = np.concatenate([train.x, held_out.x]).reshape(-1, 64)
    assert len(np.unique(together, axis=0)) == len(together) == 1797


def test_distortion_follows_the_global_generator(digits: Any) -> None:
    """Equal seeds give equal batches, other seeds others, and held-out images stay as they are."""
    train, held_out = digits.Digits(), digits.Digits("held-out")

    def first(seed: int) -> np.ndarray:
        np.random.seed(seed)
        x: np.ndarray = train[0][0]
        return x

    assert np.array_equal(first(1), first(1))
    assert not np.array_equal(first(1), first(2))
    assert np.array_equal(held_out[0][0], held_out.x[:64])


def test_network_learns_the_digits(digits: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The hand-written trainer reaches its mark on batches taken straight from the Sequence."""
    np.random.seed(0)
    source = digits.Digits()
    accuracy = digits.fit(((source[index] for index in range(len(source))) for _ in range(30)), 30)
    assert accuracy >= digits.ENOUGH
    assert "held-out accuracy" in capsys.readouterr().out


@pytest.mark.timeout(120)
def test_demo_trains_from_a_daemon_and_stops_everything() -> None:
    """The one command behind ``make demo`` reaches its mark, and daemon, trainer and stats all end with 0."""
    assert shutil.which("enqueued", path=str(Path(sys.executable).parent)), "enqueued is not installed here"
    demo = subprocess.run(
        [sys.executable, "examples/digits.py", "demo"], cwd=HOUSE, capture_output=True, text=True, timeout=100
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "exit codes: trainer 0, stats 0, daemon 0" in demo.stdout
    assert "$ enqueued serve --sequence digits:Digits" in demo.stdout
