"""Where a client looks for a daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from enqueued.client.query import query
from enqueued.client.search import where_to_look
from enqueued.errors import ConfigError, ConnectTimeout


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A runtime folder that only this test uses."""
    monkeypatch.delenv("ENQUEUED_ENDPOINT", raising=False)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    return tmp_path


def test_a_daemon_of_another_name_is_found_by_it(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By ENQUEUED_NAME, as the daemon itself reads it, or by the name that is given."""
    assert where_to_look(None)[0][0].path == f"{runtime}/default.sock"
    monkeypatch.setenv("ENQUEUED_NAME", "second")
    assert where_to_look("val") == (where_to_look(None)[0], "val")
    assert where_to_look(None)[0][0].path == f"{runtime}/second.sock"
    assert where_to_look(None, "third")[0][0].path == f"{runtime}/third.sock"


def test_an_address_without_its_scheme_is_recognised(runtime: Path) -> None:
    """It would be no stream's name either."""
    with pytest.raises(ConfigError, match='did you mean "tcp://localhost:5555"'):
        where_to_look("localhost:5555")


def test_a_question_that_nobody_answers_lists_what_was_tried(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One place a line, each with its reason."""
    monkeypatch.setenv("ENQUEUED_NAME", "nobody")  # a daemon of this machine may be there by the usual name
    with pytest.raises(ConnectTimeout, match=r"nobody\.sock: there is no socket\n"):
        query("stats", None, 0.2)
