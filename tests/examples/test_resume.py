"""A training that is killed goes on as if it had not been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving import Serving
from waiting import until

pytest.importorskip("sklearn", reason="the examples need scikit-learn: pip install 'enqueued[demo]'")

HOUSE = Path(__file__).parents[2]
SOURCE = ("--sequence", "digits:Digits", "--app-dir", str(HOUSE / "examples"), "--shuffle", "--seed", "1")


def start(endpoint: str, *flags: str) -> subprocess.Popen[str]:
    """The example's trainer, for four epochs."""
    return subprocess.Popen(
        [sys.executable, str(HOUSE / "examples/digits.py"), "train", "--epochs", "4", *flags],
        env={**os.environ, "ENQUEUED_ENDPOINT": endpoint},
        stdout=subprocess.PIPE,
        text=True,
    )


def losses(path: Path) -> dict[int, set[str]]:
    """By step every loss that was written for it."""
    found: dict[int, set[str]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        step, loss = line.split()
        found.setdefault(int(step), set()).add(loss)
    return found


@pytest.mark.timeout(120)
def test_a_killed_training_has_the_same_losses_to_the_bit(tmp_path: Path) -> None:
    """Also with a daemon that was started anew, with another number of workers, in between."""
    calm, stormy, checkpoint = tmp_path / "calm", tmp_path / "stormy", tmp_path / "digits.npz"
    with Serving(*SOURCE, "--workers", "2") as daemon:
        with start(daemon.endpoint, "--losses", str(calm)) as trainer:
            trainer.wait(60)
        flags = ("--losses", str(stormy), "--checkpoint", str(checkpoint))
        for at in (17, 44):  # in the first epoch, in the second
            with start(daemon.endpoint, *flags) as trainer:
                until(lambda at=at: len(losses(stormy)) >= at, 30, "some steps are taken")  # type: ignore[misc]
                trainer.send_signal(signal.SIGKILL)
    with Serving(*SOURCE, "--workers", "1") as daemon, start(daemon.endpoint, *flags) as trainer:
        trainer.wait(60)
    expected = losses(calm)
    assert sorted(expected) == list(range(1, 4 * 23 + 1))
    assert losses(stormy) == expected
