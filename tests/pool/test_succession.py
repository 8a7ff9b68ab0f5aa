"""A source that is loaded again: who makes which epoch, and what becomes of the pool before."""

from __future__ import annotations

import logging
import os
import textwrap
from pathlib import Path
from typing import Any

import pytest

from enqueued.errors import CrashLoop
from feeding import Feeding
from gate import Gate
from waiting import until

SOURCE = """
import fcntl, threading
import numpy as np
import settings_of_it

class Versioned:
    version = {version}
    def __init__(self, hooked=False):
        pass
    def __len__(self):
        return {length}
    def __getitem__(self, index):
        return np.array([self.version, index])
"""
HOOKED = """
    def on_epoch_end(self):
        self.version += 100
"""


class Project:
    """A module that can be written again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "settings_of_it.py").write_text("")
        self.write(1)

    def write(self, version: int, *, length: int = 4, more: str = "") -> None:
        """Write the source, so that its batches begin with `version`."""
        text = SOURCE.format(version=version, length=length) + more
        text += f"# {'x' * version}\n"  # a compiled file is used again when size and second are the same
        new = self.folder / "new"
        new.write_text(text)
        new.replace(self.folder / "versioned.py")

    def feed(self, **more: Any) -> Feeding:
        """A feed of it."""
        return Feeding("versioned:Versioned", app_dir=str(self.folder), **more)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A module in a folder."""
    return Project(tmp_path)


def versions(taken: list[tuple[Any, Any]]) -> list[tuple[int, int, int]]:
    """The epoch, index and version of what was taken, where the batch is that of its position."""
    assert all(batch[1] == index for (_, index), batch in taken)
    return [(epoch, index, int(batch[0])) for (epoch, index), batch in taken]


def reload(fed: Feeding, *, at_once: bool) -> None:
    """Load the source again, and wait until that is over."""
    fed.feed.reload(at_once=at_once)
    assert fed.feed.reloading
    fed.until(lambda: not fed.feed.reloading)


def processes() -> int:
    """How many children this process has."""
    return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_a_later_epoch_comes_from_the_new_source(project: Project) -> None:
    """What is begun or looked ahead into stays as it was; then the pool before it ends, with all of its processes."""
    with project.feed() as fed:
        fed.join()
        assert versions(fed.take(2)) == [(0, 0, 1), (0, 1, 1)]
        before = processes()
        project.write(2)
        reload(fed, at_once=False)
        assert "used from epoch 2 on" in fed.feed.last_reload
        assert versions(fed.take(10)) == [
            *((0, index, 1) for index in (2, 3)),
            *((1, index, 1) for index in range(4)),
            *((2, index, 2) for index in range(4)),
        ]
        fed.until(lambda: processes() == before, what="the old pool is gone")
        assert len(fed.feed._pools._pools()) == 1


def test_a_group_that_comes_back_to_an_early_epoch_gets_it_from_the_new_source(project: Project) -> None:
    """And with the length that it has there."""
    with project.feed() as fed:
        fed.join()
        fed.take(2)
        project.write(2, length=5)
        reload(fed, at_once=False)
        fed.take(8)
        fed.until(lambda: len(fed.feed._pools._pools()) == 1, what="the old pool is gone")
        fed.feed.stream.seek("one", 1, (0, 0))
        assert versions(fed.take(6)) == [*((0, index, 2) for index in range(5)), (1, 0, 2)]


def test_at_once_what_is_not_delivered_is_made_anew(project: Project) -> None:
    """Nothing of the old source comes after it, though it was ready or in a worker's hands."""
    with project.feed(workers=2) as fed:
        fed.join()
        fed.take(2)
        before = processes()
        project.write(3)
        reload(fed, at_once=True)
        assert versions(fed.take(6)) == [
            (0, 2, 3), (0, 3, 3), (1, 0, 3), (1, 1, 3), (1, 2, 3), (1, 3, 3),
        ]  # fmt: skip
        fed.until(lambda: processes() == before, what="the old pool is gone")


def test_a_make_of_the_old_source_that_is_not_done_is_dropped(project: Project, tmp_path: Path) -> None:
    """Both make the same position; the one that comes late, from the old one, is nobody's, and its slot is free."""
    slow = textwrap.dedent(f"""
        class Slow(Versioned):
            def __getitem__(self, index):
                if index == 2:
                    with open({str(tmp_path / "gate")!r}) as gate:
                        fcntl.flock(gate, fcntl.LOCK_SH)
                return super().__getitem__(index)
        Versioned = Slow
    """)
    project.write(1, more=slow)
    with Gate(tmp_path / "gate") as gate, project.feed(workers=2) as fed:
        fed.join()
        fed.take(2)
        project.write(2)
        reload(fed, at_once=True)
        assert versions(fed.take(2)) == [(0, 2, 2), (0, 3, 2)]
        gate.open()
        fed.until(lambda: len(fed.feed._pools._pools()) == 1, what="the old pool is gone")
        assert versions(fed.take(4)) == [(1, index, 2) for index in range(4)]
        fed.feed.stream.leave("one")
        table = fed.memory.table
        fed.until(lambda: all(table.worker(n) is not None for n in table._rows), what="old segments are closed")


def test_without_a_client_the_new_source_serves_all_epochs(project: Project) -> None:
    """What was made ahead for whoever comes first is made anew."""
    with project.feed() as fed:
        fed.until(lambda: fed.feed.header)
        project.write(2)
        reload(fed, at_once=False)
        fed.join()
        assert versions(fed.take(3)) == [(0, 0, 2), (0, 1, 2), (0, 2, 2)]


def test_a_source_that_cannot_be_loaded_changes_nothing(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    """The old one goes on, the log says why with the traceback, and the next reload is a new chance."""
    with project.feed() as fed:
        fed.join()
        fed.take(1)
        before = processes()
        project.write(2, more="this is no Python\n")
        reload(fed, at_once=True)
        assert fed.feed.last_reload.startswith("failed: ")
        assert "SyntaxError" in caplog.text
        assert 'versioned.py", line' in caplog.text
        assert versions(fed.take(4)) == [(0, 1, 1), (0, 2, 1), (0, 3, 1), (1, 0, 1)]
        fed.until(lambda: processes() == before, what="the failed pool is gone")
        project.write(3)
        reload(fed, at_once=True)
        assert versions(fed.take(1)) == [(1, 1, 3)]


def test_a_source_whose_workers_cannot_begin_changes_nothing(project: Project) -> None:
    """It was loaded, but its `worker_init` raises: nothing is taken over."""
    raising = "    def worker_init(self, info):\n        raise OSError('no disk')\n"
    with project.feed() as fed:
        fed.join()
        fed.take(1)
        project.write(2, more=raising)
        reload(fed, at_once=True)
        assert "no disk" in fed.feed.last_reload
        assert versions(fed.take(1)) == [(0, 1, 1)]


def test_a_second_reload_while_one_runs_is_ignored(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    """With a line in the log."""
    with project.feed() as fed:
        fed.feed.reload(at_once=True)
        fed.feed.reload(at_once=True)
        assert "is being loaded again already" in caplog.text
        fed.until(lambda: not fed.feed.reloading)


def test_reloads_one_after_another_hand_on_in_order(project: Project) -> None:
    """Three sources may be in use at a time; each epoch comes from the one that it belongs to."""
    with project.feed(max_queue_size=1) as fed:
        fed.join()
        fed.take(2)
        project.write(2)
        reload(fed, at_once=False)
        fed.feed.stream.join("two", start=(1, 0))
        fed.feed.stream.allow("two", 1)
        fed.until(lambda: fed.feed.stream.members["two"].delivered)
        project.write(3)
        reload(fed, at_once=False)
        assert len(fed.feed._pools._pools()) == 3
        fed.feed.stream.leave("two")
        assert versions(fed.take(10)) == [
            *((0, index, 1) for index in (2, 3)),
            *((1, index, 2) for index in range(4)),
            *((2, index, 3) for index in range(4)),
        ]
        fed.until(lambda: len(fed.feed._pools._pools()) == 1, what="the old pools are gone")


def test_an_old_source_that_breaks_is_replaced_early(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    """Its workers die one after another in an epoch that it still had to make: the new one makes that, too."""
    with project.feed() as fed:
        fed.join()
        fed.take(1)
        project.write(2)
        reload(fed, at_once=False)
        fed.feed._pools._tenures[0].broken(CrashLoop("versioned:Versioned: 5 processes ended"))
        assert versions(fed.take(8))[2:] == [(0, 3, 2), *((1, index, 2) for index in range(4)), (2, 0, 2)]
        assert "5 processes ended; as it was loaded again" in caplog.text
        fed.until(lambda: len(fed.feed._pools._pools()) == 1, what="the old pool is gone")


def test_a_source_may_gain_a_hook(project: Project) -> None:
    """Epochs of the new source are reached by its own `on_epoch_end`."""
    with project.feed() as fed:
        fed.join()
        fed.take(1)
        assert not fed.feed.hooked
        project.write(2, more=HOOKED)
        reload(fed, at_once=True)
        assert fed.feed.hooked
        assert versions(fed.take(8))[2:] == [(0, 3, 2), (1, 0, 102), (1, 1, 102), (1, 2, 102), (1, 3, 102), (2, 0, 202)]


def test_facts_and_canaries_are_those_of_the_new_source(project: Project) -> None:
    """For an epoch that is still the old one's, the canary is the old one's too."""
    with project.feed() as fed:
        fed.join()
        fed.take(1)
        old, hash_before = fed.canary(0), fed.feed.facts["hash"]
        project.write(2)
        reload(fed, at_once=False)
        assert fed.feed.facts["hash"] != hash_before
        assert fed.canary(0) == old
        assert fed.canary(5) != old
        assert fed.canary(7) == fed.canary(5)


def test_a_file_that_changes_is_loaded_at_once(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    """The source's own, or one that it imports; a syntax error waits for the next change."""
    caplog.set_level(logging.INFO, "enqueued.pool")
    with project.feed(reload=True) as fed:
        fed.join()
        fed.take(1)
        project.write(2)
        fed.until(lambda: "used at once" in fed.feed.last_reload)
        assert versions(fed.take(1)) == [(0, 1, 2)]
        project.write(3, more="this is no Python\n")
        fed.until(lambda: "failed" in fed.feed.last_reload)
        project.write(4)
        fed.until(lambda: "used at once" in fed.feed.last_reload)
        assert versions(fed.take(1)) == [(0, 2, 4)]
        (project.folder / "settings_of_it.py").write_text("changed = 1\n")
        lines = f"{project.folder}/settings_of_it.py changed; versioned:Versioned is loaded again"
        fed.until(lambda: lines in caplog.text)


def test_a_file_that_is_only_touched_is_not_loaded(project: Project) -> None:
    """Its bytes count; a file that is away for a moment is waited for."""
    with project.feed(reload=True) as fed:
        watch = fed.feed._watch
        assert watch is not None
        path = project.folder / "versioned.py"
        os.utime(path, ns=(1, 1))
        assert watch.changed() == []
        away = path.rename(project.folder / "away")
        assert watch.changed() == []
        away.rename(path)
        assert watch.changed() == []


def test_a_streamed_source_is_not_loaded_again(caplog: pytest.LogCaptureFixture) -> None:
    """It only goes forward; the log says what to do."""
    support = str(Path(__file__).parents[1] / "support")
    with Feeding("sources.counting:count_up", app_dir=support, kind="generator") as fed:
        fed.feed.reload(at_once=True)
        assert not fed.feed.reloading
        assert "restart the daemon" in caplog.text


def test_what_is_being_loaded_ends_with_the_feed(project: Project) -> None:
    """A feed that is ended in the middle of a reload leaves nothing."""
    before = processes()
    with project.feed() as fed:
        project.write(2, more="threading.Event().wait(60)\n")
        fed.feed.reload(at_once=True)
        fed.turn()
    until(lambda: processes() == before, 20)
