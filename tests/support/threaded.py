"""A module that starts a thread when it is imported, so that no process that has imported it should be forked."""

from __future__ import annotations

import os
import threading

import sequences

_thread = threading.Thread(target=threading.Event().wait, name="import's own", daemon=True)
_thread.start()


class Threaded(sequences.Growing):
    """Its workers are spawned."""

    def __getitem__(self, index: int) -> tuple[int, int, float, int]:
        return self.epoch, index, self.table[-1], os.getppid()
