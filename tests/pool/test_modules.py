"""Which code a source was loaded from: what a client compares, and what is watched."""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path

from feeding import Feeding

MAIN = """
import numpy as np
import helper
from pkg.impl import Elsewhere

class Here:
    def __len__(self): return 3
    def __getitem__(self, index): return np.float64(index)

here = Here()
"""
ELSEWHERE = """
class Elsewhere:
    def __len__(self): return 3
    def __getitem__(self, index): return index
"""


def project(folder: Path) -> Path:
    """A module, one that it imports, and a package with a class."""
    (folder / "pkg").mkdir()
    (folder / "main_module.py").write_text(MAIN)
    (folder / "helper.py").write_text("")
    (folder / "unused.py").write_text("")
    (folder / "pkg" / "__init__.py").write_text("")
    (folder / "pkg" / "impl.py").write_text(ELSEWHERE)
    return folder


def test_the_facts_name_the_file_its_hash_and_when_it_was_loaded(tmp_path: Path) -> None:
    """In wall-clock seconds, before the first line ran; the hash is the beginning of the SHA-256."""
    folder = project(tmp_path)
    before = time.time()
    with Feeding("main_module:Here", app_dir=str(folder)) as fed:
        facts = fed.feed.facts
        assert facts["file"] == str(folder / "main_module.py")
        assert facts["hash"] == sha256(MAIN.encode()).hexdigest()[:16]
        assert before <= facts["loaded_at"] <= time.time()
        assert not fed.feed.hooked


def test_a_class_from_elsewhere_is_found_there(tmp_path: Path) -> None:
    """The file is where the class is written, not where it is named; an object's is its module's."""
    folder = project(tmp_path)
    with Feeding("main_module:Elsewhere", app_dir=str(folder)) as fed:
        assert fed.feed.facts["file"] == str(folder / "pkg" / "impl.py")
    with Feeding("main_module:here", app_dir=str(folder)) as fed:
        assert fed.feed.facts["file"] == str(folder / "main_module.py")


def test_the_facts_list_the_modules_of_the_folder_that_were_imported(tmp_path: Path) -> None:
    """The source's own comes first; neither installed packages nor what nobody imported is among them."""
    folder = project(tmp_path)
    with Feeding("main_module:Here", app_dir=str(folder)) as fed:
        files = [Path(file).relative_to(folder).as_posix() for file, _, _ in fed.feed.facts["versions"]]
        assert files == ["main_module.py", "helper.py", "pkg/__init__.py", "pkg/impl.py"]
