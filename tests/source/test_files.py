from __future__ import annotations

import os
import tempfile
from pathlib import Path

from enqueued.source.files import open_regular_files
from enqueued.source.load import build
from enqueued.source.spec import SourceSpec


def test_a_file_that_the_constructor_left_open_is_found(tmp_path: Path) -> None:
    """Comparing before and after names it."""
    path = tmp_path / "rows.txt"
    path.write_text("abc")
    before = open_regular_files()
    source = build(SourceSpec("sequence", "sources.opening:Rows", {"path": str(path)}))
    assert open_regular_files() - before == {str(path)}
    source.user.file.close()
    assert open_regular_files() - before == set()


def test_files_open_for_reading_and_writing_count(tmp_path: Path) -> None:
    """They are read from as well."""
    path = tmp_path / "both"
    with path.open("w+"):
        assert str(path) in open_regular_files()


def test_what_is_not_shared_for_reading_does_not_count(tmp_path: Path) -> None:
    """Files for writing, deleted ones, pipes, folders and shared memory."""
    before = open_regular_files()
    memory = os.memfd_create("enqueued-test")
    folder = os.open(tmp_path, os.O_RDONLY)
    ends = os.pipe()
    try:
        with (tmp_path / "log").open("w"), tempfile.TemporaryFile(dir=tmp_path):
            assert open_regular_files() == before
        with tempfile.TemporaryFile(dir="/dev/shm"), tempfile.NamedTemporaryFile(dir="/dev/shm"):
            assert open_regular_files() == before
    finally:
        for number in (memory, folder, *ends):
            os.close(number)
