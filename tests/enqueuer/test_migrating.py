"""What docs/migrating.md shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
WHOLE = [block for block in BLOCKS if block.startswith("import enqueued\n")]


@pytest.mark.timeout(50)
@pytest.mark.parametrize("block", WHOLE)
def test_whole_programs_run(block: str) -> None:
    """Each block that begins with its import is a program, and comes to its end."""
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=False, timeout=40)
    assert (done.returncode, done.stderr) == (0, "")


def test_there_is_such_a_program() -> None:
    """Else nothing would be tested."""
    assert WHOLE


def test_each_line_of_theirs_has_one_of_ours() -> None:
    """Side by side."""
    theirs, *lines = BLOCKS[0].splitlines()
    assert theirs.endswith("enqueued")
    assert all("#" in line for line in lines if not line.startswith("import"))
