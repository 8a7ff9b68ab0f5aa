"""Settings as a file: what is printed can be read back, and the files of the repository are right."""

from __future__ import annotations

from pathlib import Path

import pytest

from enqueued.settings import listing, resolve

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLES = sorted(CONFIG.glob("examples/*.toml"))


def test_the_shipped_file_is_the_listing() -> None:
    """config/enqueued.toml is what a listing without anything set prints, byte for byte."""
    assert (CONFIG / "enqueued.toml").read_text() == listing(resolve({}, {}, need_source=False))


def test_a_listing_reads_back(tmp_path: Path) -> None:
    """A listing, given as the file, makes the same settings."""
    flags = {"sequence": "m:A", "args": ('path="/a b"', "sizes=[1,2]"), "max_queue_bytes": "8G", "make_timeout": "1.5"}
    settings = resolve({**flags, "stream": "v1.2"}, {"ENQUEUED_BIND": "tcp://127.0.0.1:1"})
    path = tmp_path / "listed.toml"
    path.write_text(listing(settings))
    again = resolve({}, {}, path)
    assert (again.daemon, again.streams) == (settings.daemon, settings.streams)


def test_a_listing_says_where_values_are_from() -> None:
    """Behind each value stands its origin."""
    text = listing(resolve({"sequence": "m:A"}, {"ENQUEUED_WORKERS": "3"}))
    assert 'sequence = "m:A"  # flag --sequence\n' in text
    assert "workers = 3  # environment ENQUEUED_WORKERS\n" in text
    assert "max_queue_size = 10  # default\n" in text


def test_a_null_is_listed_as_a_comment() -> None:
    """TOML has no null, so an argument that is one is listed as a remark and not as a wrong value."""
    text = listing(resolve({"sequence": "m:A", "args": ("x=null",)}, {}))
    assert "# args =  # flag --arg: holds a null, which TOML cannot say\n" in text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.stem))
def test_examples_resolve(path: Path) -> None:
    """Every example is a whole configuration."""
    assert resolve({}, {}, path).streams


def test_there_are_examples() -> None:
    """The parametrized test above has something to look at."""
    assert EXAMPLES
