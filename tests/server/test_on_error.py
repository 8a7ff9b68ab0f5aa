"""``--on-error``: what happens to a batch for which the source raises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from enqueued.errors import SourceError
from serving import Serving

FAILING = ("--sequence", "sources.unwilling:Unwilling", "--workers", "2")
BAD = (3, 7, 8, 19)


def test_by_default_the_trainer_is_told() -> None:
    """Each time, and the iteration goes on after it."""
    with Serving(*FAILING) as daemon, daemon.client() as client:
        found, errors = [], []
        epoch = iter(client)
        while True:
            try:
                found.append(int(next(epoch)))
            except SourceError as error:
                errors.append(error.index)
            except StopIteration:
                break
        assert errors == list(BAD)
        assert found == [index for index in range(20) if index not in BAD]
        assert daemon.stream_stats()["skipped"] == 0


def test_with_skip_a_failing_batch_is_left_out() -> None:
    """The trainer sees the rest, in order; stats count what was left out, and the log names some of it."""
    with Serving(*FAILING, "--on-error", "skip") as daemon, daemon.client() as client:
        for _ in range(2):
            assert [int(batch) for batch in client] == [index for index in range(20) if index not in BAD]
        stats = daemon.stream_stats()
        assert stats["skipped"] >= 2 * len(BAD)
        assert re.search(r"WARNING .*raised ValueError: not (\d+) .*; 0:\1 is left out\n", daemon.log)


def test_with_retry_a_batch_that_comes_later_is_given(tmp_path: Path) -> None:
    """It fails twice, and the third try is taken; nobody is told but the statistics."""
    flags = (*FAILING, "--arg", f"folder={tmp_path}", "--arg", "times=2", "--on-error", "retry:2")
    with Serving(*flags) as daemon, daemon.client() as client:
        assert [int(batch) for batch in client] == list(range(20))
        assert daemon.stream_stats()["skipped"] == 0
        assert daemon.stream_stats()["failed"] >= 2 * len(BAD)


def test_with_retry_a_batch_that_never_comes_is_an_error(tmp_path: Path) -> None:
    """After the last try the trainer is told what the source raised."""
    flags = (*FAILING, "--arg", f"folder={tmp_path}", "--arg", "times=3", "--on-error", "retry:2")
    with Serving(*flags) as daemon, daemon.client() as client:
        with pytest.raises(SourceError, match="not 3"):
            list(client)
        assert len((tmp_path / "0:3").read_text()) == 3
