from __future__ import annotations

import json
from typing import Any

import pytest

from enqueued.errors import SourceError
from enqueued.source.failure import a, place, source_error, summary, user_traceback
from enqueued.source.load import build
from enqueued.source.spec import SourceSpec


def caught(function: Any, *args: Any) -> BaseException:
    try:
        function(*args)
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def test_a_summary_is_one_line() -> None:
    """Type and first line, cut where it is too long."""
    assert summary(ValueError("first\nsecond")) == "ValueError: first"
    assert summary(ValueError()) == "ValueError"
    assert summary(ValueError("  \n ")) == "ValueError"
    assert summary(SystemExit(3)) == "SystemExit: 3"
    assert summary(json.JSONDecodeError("bad", "x", 0)) == "JSONDecodeError: bad: line 1 column 1 (char 0)"
    assert len(summary(ValueError("x" * 10_000))) < 600


def test_kinds_have_their_article() -> None:
    """Messages read as sentences."""
    assert [a([]), a(1), a(object())] == ["a list", "an int", "an object"]


def test_a_source_error_names_place_position_and_worker() -> None:
    """One line that says everything, and the user's own traceback beside it."""
    source = build(SourceSpec("sequence", "sources.bad:FailingAt", {"size": 4}))
    error = caught(source.make, 3, 2)
    told = source_error(error, target="sources.bad:FailingAt", epoch=3, index=2, worker="worker-1")
    assert isinstance(told, SourceError)
    where = place(error)
    assert where.rpartition(":")[0].endswith("sources/bad.py")
    assert str(told) == f"sources.bad:FailingAt raised KeyError: 2 ({where}) at position 3:2 in worker-1"
    assert (told.epoch, told.index, told.worker) == (3, 2, "worker-1")
    assert "raise KeyError(index)" in told.traceback
    assert "indexed.py" not in told.traceback


def test_a_source_error_stays_itself() -> None:
    """What is told already is not wrapped again."""
    error = SourceError("it only goes forward", epoch=1, index=2)
    assert source_error(error, target="x:y", epoch=0, index=0) is error


def test_the_place_is_the_users_line_not_the_librarys() -> None:
    """An error inside the standard library points to who called it."""

    def parse() -> None:
        json.loads("{")

    assert place(caught(parse)).rpartition(":")[0] == __file__
    assert place(ValueError("never raised")) == ""


def test_chained_errors_keep_their_tracebacks() -> None:
    """Both the cause and what became of it are the user's."""

    def wrap() -> None:
        try:
            dict[str, int]()["key"]
        except KeyError as error:
            raise ValueError("wrapped") from error

    text = user_traceback(caught(wrap))
    assert "KeyError: 'key'" in text
    assert "direct cause" in text
    assert text.rstrip().endswith("ValueError: wrapped")


def test_deep_recursion_is_told_shortly() -> None:
    """A thousand equal frames are not a thousand lines."""

    def deeper() -> None:
        deeper()

    with pytest.raises(RecursionError) as error:
        deeper()
    assert len(user_traceback(error.value).splitlines()) < 60
