"""Watching the files that a source was loaded from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

Version = tuple[str, int, str]
"""A file, when it was last modified (ns), and the hash of its bytes."""


def digest(path: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a file; empty when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()[:16]
    except OSError:
        return ""


def modified_ns(path: str) -> int:
    """When a file was last modified; 0 when it is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


class Watch:
    """Some files, and how they were when they were loaded. One that was only touched, or is away, has not changed."""

    def __init__(self, versions: Iterable[Version]) -> None:
        self._versions = {path: (modified, found) for path, modified, found in versions}

    def changed(self) -> list[str]:
        """The files that have changed since they were loaded, or since this was last asked.

        One `stat` for each file; only what was modified is read.
        """
        changed = []
        for path, (before, known) in self._versions.items():
            modified = modified_ns(path)
            if modified and modified != before:
                found = digest(path)
                if found:
                    self._versions[path] = (modified, found)
                    if found != known:
                        changed.append(path)
        return changed
