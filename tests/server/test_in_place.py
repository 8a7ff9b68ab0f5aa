"""`enqueued.empty` in a real pool: batches that are built where trainers read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enqueued import OrderedEnqueuer
from serving import Serving, run
from sources.placed import Placed

SOURCE = ("--sequence", "sources.placed:Placed", "--workers", "2")


def check(batches: list[Any], numbers: list[int]) -> int:
    """Whether each batch is full of its number; how many were built in place."""
    assert [int(batch["y"][0]) for batch in batches] == numbers
    for number, batch in zip(numbers, batches, strict=True):
        assert batch["x"].shape == (50, 1000, 3)
        assert (batch["x"] == number).all()
        assert (batch["y"] == number).all()
    return sum(batch["placed"] for batch in batches)


@pytest.mark.parametrize("flags", [(), ("--start-method", "spawn"), ("--pool", "thread")])
def test_batches_are_built_in_their_slots(flags: tuple[str, ...]) -> None:
    """All but those for which a lane has no slot yet. A trainer that changes its batches changes nobody else's."""
    with Serving(*SOURCE, *flags) as daemon, daemon.client() as one, daemon.client() as other:
        for _ in range(2):
            for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
                check([mine], [number])
                mine["x"][...] = 255
                mine["y"][...] = -1
                check([theirs], [number])
        with daemon.client(fixed_epoch=5) as late:
            assert check(list(late), list(range(40))) >= 30


def test_a_source_that_keeps_its_arrays_gets_right_batches_too(tmp_path: Path) -> None:
    """They are copied out of what it holds on to; ledgers of two trainers, made at different times, agree."""
    with Serving(
        *SOURCE, "--arg", "keep=true", "--arg", "tell=false", "--max-queue-size", "4", "--lag-timeout", "0.2"
    ) as daemon:
        for name in ("a", "b"):
            with daemon.client(ledger=tmp_path / f"{name}.jsonl") as client:
                check([{**batch, "x": batch["x"].copy()} for batch in client], list(range(40)))
    told = run("verify", *(str(path) for path in tmp_path.glob("*.jsonl")))
    assert told.returncode == 0, told.stdout


def test_what_is_built_in_place_is_made_again_bit_by_bit(tmp_path: Path) -> None:
    """By another worker, after a state was saved: the canary and the ledgers agree with what was copied."""
    flags = ("--dataset", "sources.placed:PlacedSamples", "--batch-size", "32", "--collate", "sources.placed:collate")
    with Serving(*flags, "--workers", "1") as daemon:
        with daemon.client(ledger=tmp_path / "a.jsonl") as client:
            batches = list(client)
            state = client.state_dict()
        daemon.kill()
        daemon.start()
        with daemon.client(ledger=tmp_path / "b.jsonl", fixed_epoch=0) as again:
            for batch, before in zip(again, batches, strict=True):
                np.testing.assert_array_equal(batch["x"], before["x"])
        with daemon.client() as resumed:
            resumed.load_state_dict(state)
            assert next(iter(resumed))["x"][0, 0] == 0
    assert len(batches[-1]["x"]) == 400 % 32
    told = run("verify", *(str(path) for path in tmp_path.glob("*.jsonl")))
    assert told.returncode == 0, told.stdout


def test_the_enqueuers_build_in_place_too() -> None:
    """In processes; in threads it is an array like any other."""
    for processes in (True, False):
        with OrderedEnqueuer(Placed(), use_multiprocessing=processes) as enqueuer:
            enqueuer.start(2)
            batches = enqueuer.get()
            placed = sum(check([next(batches)], [number % 40]) for number in range(80))
            assert placed >= 60 if processes else placed == 0
