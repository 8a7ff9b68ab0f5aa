"""Members that are killed: what the ledgers of all say of it."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest

from enqueued.ledger.verification import verify
from serving import Serving
from trainer import Trainer
from waiting import until

LENGTH = 500
SLOW = ("--arg", f"length={LENGTH}", "--arg", "seconds=0.006")  # so that there is time to be killed in an epoch
SOURCE = ("--sequence", "sources.counting:Slow", *SLOW, "--workers", "2")


def _has_lines(path: Path, most: int) -> bool:
    return path.read_bytes().count(b"\n") > most


@pytest.mark.parametrize("daemon_too", [False, True])
def test_members_that_are_killed_lose_nothing(daemon_too: bool, tmp_path: Path) -> None:
    """Two groups of two, of which one after another is killed and replaced: each group is given every position."""
    path = tmp_path / "ledger"
    path.touch()
    chance = random.Random(5)
    with Serving(*SOURCE) as daemon:
        arguments = f"{daemon.endpoint!r}, start='stored', ledger={str(path)!r}, batch_timeout=30.0"

        def start(group: str) -> Trainer:
            trainer = Trainer()
            trainer(f"client = Client({arguments}, group={group!r})")
            trainer.tell("sum(1 for _ in client), client.close()")  # else it holds what comes next
            return trainer

        groups = ("a", "a", "b", "b")
        members = [start(group) for group in groups]
        for number in range(6):
            until(partial(_has_lines, path, 60 * (number + 1)), 20)
            who = chance.randrange(4)
            with members[who]:
                members[who].kill()
            members[who] = start(groups[who])
            if daemon_too and number % 2:
                daemon.kill()
                daemon.start()
        for trainer in members:
            with trainer:
                assert trainer.answer()[0] == "ok"
                trainer("client.close()")
    report = verify([path], complete=True)
    assert report.kept, report
    # a member that comes when the others have finished has an epoch of its own
    assert len(report.groups) == 2
    assert all(group.positions in (LENGTH, 2 * LENGTH) for group in report.groups)
    if not daemon_too:
        assert sum(group.repeated for group in report.groups) <= 6
