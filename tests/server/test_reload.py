"""New code while the daemon serves: the trainers go on, and the old processes end."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from serving import Serving
from waiting import until

SOURCE = """
import numpy as np

class Versioned:
    def __len__(self):
        return 300
    def __getitem__(self, index):
        return np.full({size}, {version}), index
# {filling}
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A folder with a source of version 1."""
    write(tmp_path, 1)
    return tmp_path


def write(folder: Path, version: int, *, size: int = 10) -> None:
    """Write another version of it; each is longer than the one before, so that no compiled one passes for it."""
    (folder / "new").write_text(SOURCE.format(version=version, size=size, filling="x" * version))
    (folder / "new").replace(folder / "versioned.py")


def serving(module: Path, *flags: str) -> Serving:
    """A daemon that watches the source's file."""
    return Serving("--sequence", "versioned:Versioned", "--app-dir", str(module), "--reload", *flags)


def version(batch: Any) -> int:
    """Of the source that made a batch."""
    return int(batch[0][0])


def reloaded(daemon: Serving, times: int) -> bool:
    """Whether a daemon has taken new code so often."""
    return daemon.log.count("used at once") == times


def test_trainers_go_on_with_the_new_code(module: Path) -> None:
    """Each index is given once; after the first batch of the new code none of the old comes."""
    with serving(module, "--workers", "2") as daemon, daemon.client() as one, daemon.client() as other:
        for number, client in enumerate((one, other), 1):
            epoch = iter(client)
            batches = list(itertools.islice(epoch, 100))
            write(module, number + 1)
            until(partial(reloaded, daemon, number), 20)
            batches += epoch
            assert [batch[1] for batch in batches] == list(range(300))
            versions = [version(batch) for batch in batches]
            assert versions == sorted(versions)
            assert versions[-1] == number + 1
        until(lambda: len(daemon.processes()) == 4, 10, "only the daemon, one zygote and its two workers are left")
        assert daemon.stream_stats()["worker_restarts"] == 0


def test_batches_that_a_client_holds_outlive_the_code_that_made_them(module: Path) -> None:
    """The old pool's segments stay as long as somebody reads in them, and no longer."""
    write(module, 1, size=100_000)
    with serving(module) as daemon, daemon.client(prefetch=3) as client:
        epoch = iter(client)
        held = list(itertools.islice(epoch, 3))
        write(module, 2, size=100_000)
        until(lambda: "used at once" in daemon.log, 20)
        new = next(batch for batch in epoch if version(batch) == 2)
        assert {version(batch) for batch in held} == {1}
        assert all((batch[0] == 1).all() for batch in held)
        del held, new, epoch
        client.close()
        mapped = until(lambda: daemon.stream_stats()["slot_bytes"], 5)
        assert mapped < 100_000 * 8 * 40


def test_code_that_is_broken_changes_nothing(module: Path) -> None:
    """The log has the traceback, and the next change is a new chance."""
    with serving(module) as daemon, daemon.client() as client:
        epoch = iter(client)
        assert version(next(epoch)) == 1
        (module / "versioned.py").write_text("import nothing_of_this_name\n")
        until(lambda: "the source goes on as it was loaded before" in daemon.log, 20)
        assert "nothing_of_this_name" in daemon.log
        assert {version(batch) for batch in itertools.islice(epoch, 50)} == {1}
        write(module, 7)
        until(lambda: "used at once" in daemon.log, 20)
        assert version(list(epoch)[-1]) == 7


def test_a_stop_in_the_middle_of_a_reload_leaves_nothing(module: Path) -> None:
    """The new code is still being loaded."""
    with serving(module) as daemon:
        daemon.ready()
        (module / "versioned.py").write_text("import threading\nthreading.Event().wait(600)\n")
        until(lambda: "changed;" in daemon.log, 20)
