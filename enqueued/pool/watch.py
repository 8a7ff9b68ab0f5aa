"""Watching the files that a source was loaded from."""

from __future__ import annotations

from collections.abc import Iterable

from enqueued.pool.modules import Version, digest, modified_ns


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
