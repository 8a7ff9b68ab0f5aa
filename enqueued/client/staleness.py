"""Whether the daemon runs older code than the source's file has now."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any


def stale(welcome: dict[str, Any]) -> str:
    """What to tell of a source whose file was changed after the daemon of this host loaded it; empty if it was not."""
    path, loaded_at = welcome["file"], welcome["loaded_at"]
    try:
        changed_at = os.stat(path).st_mtime
        if not path or not welcome["hash"] or changed_at <= loaded_at:
            return ""
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except (OSError, ValueError):
        return ""
    if digest.startswith(welcome["hash"]):
        return ""
    clock = "%H:%M:%S" if changed_at - loaded_at < 60 else "%H:%M"
    then, loaded = (time.strftime(clock, time.localtime(at)) for at in (changed_at, loaded_at))
    return f"{os.path.basename(path)} changed at {then}, the daemon loaded it at {loaded}: enqueued reload"
