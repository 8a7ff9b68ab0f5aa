"""What cannot be served is refused with a line of cause, the user's traceback and the right exit code."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from enqueued.errors import SourceError
from serving import Serving, run
from waiting import until

S, G, D = "--sequence", "--generator", "--dataset"


def last_line(daemon: Serving) -> str:
    """The last thing that a daemon said."""
    return daemon.log.rstrip().splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "cause", "traceback"),
    [
        ((S, "no_such_module:Thing"), 'Could not import module "no_such_module"', ""),
        ((S, "sources.counting"), 'must be in format "<module>:<attribute>"', None),
        ((S, "sources.counting:Countin"), 'Attribute "Countin" not found .* did you mean "Counting"', None),
        ((S, "sources.broken:source"), "No module named 'no_such_dependency_of_mine'", "broken.py"),
        ((S, "sources.exploding:source"), "ValueError: the folder of images is empty", "exploding.py"),
        ((S, "sources.leaving:source"), "SystemExit: I leave", "leaving.py"),
        ((S, "sources.bad:NoIndex"), "has no __getitem__", ""),
        ((S, "sources.bad:NoLength"), "has no __len__", ""),
        ((S, "sources.bad:Sized"), r"len\(sources.bad:Sized\) is 0", ""),
        ((S, "sources.bad:Sized", "--arg", "size=-3"), r"is -3; there must be at least 1", ""),
        ((S, "sources.bad:Sized", "--arg", "size=null"), r"is None", ""),
        ((S, "sources.bad:Sized", "--arg", "sise=3"), "did you mean size", ""),
        ((S, "sources.bad:Unmeasurable"), "OSError: no such disk", "bad.py"),
        ((S, "sources.bad:Raising"), "ValueError: no such folder: /data", "bad.py"),
        ((S, "sources.bad:Raising", "--arg", "what=SystemExit"), "SystemExit: no such folder", "bad.py"),
        ((S, "sources.bad:Raising", "--arg", "what=KeyboardInterrupt"), "KeyboardInterrupt: no such", "bad.py"),
        ((S, "sources.bad:FailingHooks", "--arg", "size=3"), "on_epoch_begin raised ValueError: begin", "bad.py"),
        ((G, "sources.bad:number"), "has no __iter__", ""),
        ((D, "sources.pooled:Samples", "--batch-size", "99", "--drop-last"), "--drop-last leaves nothing", ""),
        ((D, "sources.pooled:Samples", "--batch-size", "2", "--collate", "sources.bad:number"), "not a function", ""),
        ((S, "sources.faulty:Unwilling", "--arg", "how=_exit"), "exited with code 7", ""),
        ((S, "sources.faulty:Unwilling", "--arg", "how=segv"), "was killed by SIGSEGV", ""),
        ((S, "sources.faulty:Unwilling", "--arg", "how=kill"), "was killed by SIGKILL", ""),
        (
            (S, "sources.faulty:Unwilling", "--arg", "how=hang", "--load-timeout", "1"),
            "within 1 s .*--load-timeout",
            "",
        ),
        (
            (S, "sources.faulty:Dying", "--worker-init", "sources.faulty:refusing_init"),
            "RuntimeError: no data",
            "faulty",
        ),
        ((S, "sources.faulty:Dying", "--worker-init", "sources.faulty:absent"), 'Attribute "absent" not found', None),
    ],
)
def test_a_source_that_cannot_be_loaded_is_exit_code_3(
    flags: tuple[str, ...], cause: str, traceback: str | None
) -> None:
    """One line says why, after the user's own traceback if there is one; the start-up line never comes."""
    workers = () if G in flags else ("--workers", "2")
    with Serving(*flags, *workers, expect=3) as daemon:
        assert daemon.wait(20) == 3
        last = last_line(daemon)
        assert last.startswith("enqueued: ")
        assert re.search(cause, last), daemon.log
        assert "serving" not in daemon.log
        if traceback is not None:
            assert ("Traceback" in daemon.log) == bool(traceback), daemon.log
        if traceback:
            assert traceback in daemon.log
            assert "enqueued/pool" not in daemon.log


def test_a_worker_init_that_kills_is_a_crash_loop() -> None:
    """Workers that never come up are not made for ever."""
    flags = (S, "sources.counting:Counting", "--worker-init", "sources.faulty:dying_init", "--workers", "2")
    with Serving(*flags, expect=5) as daemon:
        assert daemon.wait(20) == 5
        assert "exited with code 9" in last_line(daemon)


def test_a_waiting_client_outlives_a_source_that_cannot_be_loaded() -> None:
    """A client that came while the source was loaded is told, and looks for a daemon until its time is up."""
    flags = (S, "sources.faulty:Unwilling", "--arg", "how=hang", "--load-timeout", "1.5")
    with Serving(*flags, expect=3) as daemon:
        with pytest.raises(TimeoutError, match="no daemon answered"):
            daemon.client(connect_timeout=3.0)
        assert daemon.wait(20) == 3


def test_an_unknown_key_in_a_file_suggests_the_right_one(tmp_path: Path) -> None:
    """Exit code 2 before anything is started."""
    config = tmp_path / "wrong.toml"
    config.write_text('[stream.train]\nsequence = "sources.counting:Counting"\nworker = 2\n')
    result = run("serve", "--config", str(config))
    assert result.returncode == 2
    assert "workers" in result.stderr


def test_what_cannot_travel_is_an_error_that_names_its_path() -> None:
    """Object arrays and sets are refused where they are made; the batches around them come."""
    with Serving(S, "sources.faulty:Odd", "--workers", "2") as daemon, daemon.client() as client:
        epoch = iter(client)
        assert np.array_equal(next(epoch)["x"][0], np.zeros(2))
        with pytest.raises(SourceError, match=r'batch\["x"\]\[1\]') as object_array:
            next(epoch)
        with pytest.raises(SourceError, match=r'batch\["y"\]\[1\]\["deep"\]') as a_set:
            next(epoch)
        assert np.array_equal(next(epoch)["x"][1], np.zeros(2))
        assert (object_array.value.index, a_set.value.index) == (1, 2)
        assert daemon.stream_stats()["worker_restarts"] == 0


def test_ragged_samples_are_an_error_that_names_their_path() -> None:
    """Samples that cannot be stacked say so at the client."""
    cause = r'sample\["x"\]: shapes \(1,\) and \(2,\) cannot be stacked'
    flags = (D, "sources.ragged:Ragged", "--batch-size", "2")
    with Serving(*flags) as daemon, daemon.client() as client, pytest.raises(SourceError, match=cause):
        list(client)


def test_a_second_daemon_on_the_same_endpoint_is_refused() -> None:
    """Exit code 4 names the first one's pid; the first goes on serving as if nothing had been."""
    with Serving(S, "sources.counting:Counting", "--workers", "1") as first, first.client() as client:
        epoch = iter(client)
        next(epoch)
        second = run("serve", "--endpoint", first.endpoint, S, "sources.counting:Counting")
        assert second.returncode == 4
        assert f"pid {first.process.pid}" in second.stderr
        assert "serving sources" not in second.stderr
        assert len(list(epoch)) == 19
        with first.client() as another:
            assert len(list(another)) == 20
        assert first.stats()["pid"] == first.process.pid


@pytest.mark.parametrize("name", ["x.sock", "x.sock.fds"])
def test_a_file_in_the_place_of_a_socket_is_left_alone(tmp_path: Path, name: str) -> None:
    """Binding would remove it."""
    (tmp_path / name).write_text("precious")
    result = run("serve", "--endpoint", f"ipc://{tmp_path}/x.sock", S, "sources.counting:Counting")
    assert result.returncode == 2
    assert f"{tmp_path / name} is there already and is no socket" in result.stderr
    assert (tmp_path / name).read_text() == "precious"


def test_a_folder_that_cannot_be_made_is_told_in_a_line(tmp_path: Path) -> None:
    """A file stands where it would be."""
    (tmp_path / "file").touch()
    result = run("serve", "--endpoint", f"ipc://{tmp_path}/file/x.sock", S, "sources.counting:Counting")
    assert result.returncode == 2
    assert "cannot be used" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_constructor_that_ends_its_process_is_told_at_once() -> None:
    """Nobody waits for the time limit when the process is gone."""
    with Serving(S, "sources.faulty:Unwilling", "--arg", "how=_exit", "--load-timeout", "300", expect=3) as daemon:
        until(lambda: daemon.process.poll() is not None, 15)
        assert daemon.wait() == 3
