from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from enqueued.source import seeding


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The import path, the modules, the generators and the position are afterwards what they were before."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)
    state, legacy = random.getstate(), np.random.get_state()
    yield
    seeding.leave()
    random.setstate(state)
    np.random.set_state(legacy)
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if not file.startswith(sys.prefix) and f"{os.sep}enqueued{os.sep}" not in file:
            del sys.modules[name]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Writes a module into an empty folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write
