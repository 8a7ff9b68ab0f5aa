"""A source whose process is lost is built again, and must give what it gave before."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from enqueued.errors import SourceError
from serving import Serving

LONG = ("--arg", "length=2000", "--workers", "2")


def kill_root(daemon: Serving) -> None:
    """Kill the process that loaded the source."""
    for pid in daemon.processes():
        if Path(f"/proc/{pid}/comm").read_text() == "enq-zygote\n":
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("name", ["Drawn", "Redrawn"])
def test_a_source_that_draws_from_the_global_generators_goes_on_bit_by_bit(name: str) -> None:
    """In the constructor and in `on_epoch_end`: both are seeded, and the calls are replayed."""
    with Serving("--sequence", f"sources.reproduced:{name}", *LONG) as daemon, daemon.client() as client:
        undisturbed = [list(epoch) for epoch in client.epochs(2)]
    with Serving("--sequence", f"sources.reproduced:{name}", *LONG) as daemon, daemon.client() as client:
        found = [list(next(client.epochs(1)))]
        second = iter(client)
        found.append(list(itertools.islice(second, 700)))
        kill_root(daemon)
        found[1] += second
        assert "the source is loaded again" in daemon.log
    assert np.array_equal(found, undisturbed)


def test_a_source_that_cannot_be_reproduced_is_an_error_and_not_other_data() -> None:
    """What was made is still given, in order; then the client is told why nothing more comes, and what to do."""
    flags = ("--sequence", "sources.reproduced:Drawn", "--arg", "unseeded=true", *LONG)
    with Serving(*flags) as daemon, daemon.client() as client:
        first = list(client)
        second = iter(client)
        again = list(itertools.islice(second, 500))
        kill_root(daemon)
        with pytest.raises(SourceError, match=r"cannot be reproduced.* [01]:0 is not what it was.*Seed it"):
            again.extend(second)
        assert 500 <= len(again) < 2000
        assert again == first[: len(again)]
        assert "cannot be reproduced" in daemon.log
