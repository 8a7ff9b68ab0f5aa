"""Canaries: what a source proves itself with, and what happens when it cannot."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

import pytest

from enqueued.pool.canary import Canaries
from feeding import Feeding

SUPPORT = str(Path(__file__).parents[1] / "support")


def feeding(name: str, **arguments: object) -> Feeding:
    """A feed of one of the sources that can, or cannot, be reproduced."""
    return Feeding(f"sources.reproduced:{name}", app_dir=SUPPORT, args=dict(arguments))


def kill_root(fed: Feeding) -> None:
    """Kill the first zygote, and wait until the daemon has noticed."""
    before = fed.zygote
    os.kill(before, signal.SIGKILL)
    fed.until(lambda: fed.zygote != before, what="the source is loaded again")


@pytest.mark.parametrize("name", ["Drawn", "Redrawn", "Wide"])
def test_a_canary_is_the_same_in_every_daemon(name: str) -> None:
    """Asked for, or made on the way; in a new process the constructor and the calls draw the same again."""
    found = []
    for epoch in (0, 3):
        for taken in (0, 5):
            with feeding(name) as fed:
                if taken:
                    fed.join((epoch, 0))
                    fed.take(taken)
                found.append(fed.canary(epoch))
                assert fed.canary(epoch) == found[-1]
    assert found[0] == found[1]
    assert found[2] == found[3]
    assert len(found[0]) == 16
    assert (found[0] == found[2]) == (name != "Redrawn")


def test_an_unseeded_generator_of_its_own_shows() -> None:
    """Such a source has another canary in every daemon."""
    found = set()
    for _ in range(2):
        with feeding("Drawn", unseeded=True) as fed:
            found.add(fed.canary(0))
    assert len(found) == 2


def test_a_canary_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """It is told once, and tried again when it is asked for again; nothing hangs."""
    notes = tmp_path / "notes"
    with feeding("Barren", path=str(notes)) as fed:
        for tries in (1, 2):
            assert fed.canary(2).startswith("error: sources.reproduced:Barren raised ValueError: no first batch")
            assert notes.read_text() == "x" * tries
        fed.join((1, 1))
        assert [position for position, _ in fed.take(2)] == [(1, 1), (1, 2)]


def test_a_canary_that_kills_its_worker_is_given_up(tmp_path: Path) -> None:
    """After three workers; the others go on."""
    notes = tmp_path / "notes"
    with feeding("Barren", path=str(notes), deadly=True) as fed:
        assert "exited with code 3" in fed.canary(1)
        assert notes.read_text() == "xxx"


def test_a_first_batch_that_changes_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A source that gives something else each time keeps its first canary, and the log says what that means."""
    with feeding("Fickle") as fed, caplog.at_level(logging.WARNING, "enqueued.pool"):
        first = fed.canary(0)
        fed.join()
        fed.take(8)
        assert fed.canary(0) == first
        assert fed.canary(1)
        warnings = [record.getMessage() for record in caplog.records if "the two differ" in record.getMessage()]
        assert len(warnings) == 1
        assert "default_rng()" in warnings[0]


@pytest.mark.parametrize("name", ["Drawn", "Redrawn"])
def test_a_source_that_is_loaded_again_goes_on_if_it_is_as_it_was(name: str) -> None:
    """Its first process is killed in mid-epoch: the constructor and the calls are replayed, and prove themselves."""
    with feeding(name) as fed:
        fed.join()
        undisturbed = fed.take(27)
    with feeding(name) as fed:
        fed.join()
        found = fed.take(15)
        kill_root(fed)
        assert found + fed.take(12) == undisturbed


@pytest.mark.parametrize("name", ["Drawn", "Redrawn"])
def test_a_source_that_is_loaded_again_and_gives_something_else_is_an_error(name: str) -> None:
    """What was made before is still given, then every client is told, and the canary is not quietly another."""
    with feeding(name, unseeded=True) as fed:
        fed.join()
        fed.take(15)
        kill_root(fed)
        told = [batch for _, batch in fed.take(15) if isinstance(batch, str)]
        assert len(told) >= 7
        assert all("cannot be reproduced" in text and "Seed it" in text for text in told)
        assert "cannot be reproduced" in fed.canary(2)


def test_a_source_whose_file_changed_while_its_process_died_says_so(tmp_path: Path) -> None:
    """The new code is not mixed into the old epochs unasked; a reload takes it."""
    text = "class Source:\n    def __len__(self): return 6\n    def __getitem__(self, index): return {}\n"
    path = tmp_path / "edited.py"
    path.write_text(text.format("index"))
    with Feeding("edited:Source", app_dir=str(tmp_path)) as fed:
        fed.join()
        fed.take(3)
        path.write_text(text.format("index + 100"))
        kill_root(fed)
        told = fed.take(9)[-1][1]
        assert f"{path} had changed" in told
        assert "enqueued reload" in told
        fed.feed.reload(at_once=True)
        fed.until(lambda: not fed.feed.reloading)
        assert fed.take(6)[-1][1] >= 100


def test_a_canary_that_nobody_asks_for_any_more_is_not_made() -> None:
    """Whoever asked has left: its epoch may be so far away that it would never be reached."""
    canaries = Canaries("source")
    assert canaries.get(10**9) is None
    canaries.expire(time.monotonic() + 5)
    assert list(canaries.wanted) == [10**9]
    canaries.expire(time.monotonic() + 15)
    assert not canaries.wanted
    canaries.fail(10**9, "nobody is told")
    assert canaries.get(10**9) is None
