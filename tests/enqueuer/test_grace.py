"""How long a coordinator waits for threads after the stop."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

import waiting
from enqueued.enqueuer.coordinator import Coordinator

pytestmark = pytest.mark.timeout(30)


class Lingering(threading.Thread):
    """Lives until somebody waits for it with a time limit, which it notes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.limits: list[float] = []
        self.door = threading.Event()

    def run(self) -> None:
        self.door.wait()

    def join(self, timeout: float | None = None) -> None:
        if timeout is not None:
            self.limits.append(timeout)
            self.door.set()
        super().join(timeout)


@pytest.mark.parametrize("grace_s", [None, 7.5])
def test_the_grace_period_begins_with_the_stop(monkeypatch: pytest.MonkeyPatch, grace_s: float | None) -> None:
    """Whole, however long threads ran before: an hour goes by until the stop. It is 120 seconds if nothing is said."""
    coord, thread = Coordinator(), Lingering()
    clock = SimpleNamespace(monotonic=lambda: 3600.0 * coord.should_stop())
    monkeypatch.setattr("enqueued.enqueuer.coordinator.time", clock)

    def stop() -> None:
        waiting.until(lambda: coord._changed._waiters)  # type: ignore[attr-defined] # typeshed leaves it out
        coord.request_stop()

    stopping = threading.Thread(target=stop)
    for one in (thread, stopping):
        one.start()
    if grace_s is None:
        coord.join([thread])
    else:
        coord.join([thread], grace_s)
    stopping.join()
    assert thread.limits == [grace_s or 120]
