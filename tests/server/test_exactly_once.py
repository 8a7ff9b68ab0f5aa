"""Whoever is killed, each group gets each position once: shown by what the clients wrote down."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving import SUPPORT, Serving, parse, run
from waiting import until

GROUPS = ("red", "green", "blue")
BATCHES = 2000
PAUSE_S = 0.5


class Crowd:
    """Trainers, each a process with a ledger of its own; who is killed is replaced."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self._endpoint = endpoint
        self.folder = folder
        self._numbers = itertools.count()
        self.members: list[tuple[subprocess.Popen[bytes], dict[str, Any]]] = []
        self.killed = 0

    def start(self, **arguments: Any) -> None:
        """One more."""
        ledger = self.folder / f"{next(self._numbers)}.jsonl"
        command = [sys.executable, str(SUPPORT / "member.py"), self._endpoint, str(ledger), json.dumps(arguments)]
        environ = {**os.environ, "PYTHONPATH": str(SUPPORT)}
        self.members.append((subprocess.Popen(command, env=environ), arguments))

    @property
    def busy(self) -> int:
        """How many still work; the others must have ended well."""
        codes = [member.poll() for member, _ in self.members]
        assert set(codes) <= {None, 0}, codes
        return codes.count(None)

    def kill(self) -> None:
        """End one as a crash would, and start another in its place."""
        working = [one for one in self.members if one[0].poll() is None]
        victim, arguments = random.choice(working)
        victim.send_signal(signal.SIGKILL)
        if victim.wait() != 0:
            self.killed += 1
            self.members = [one for one in self.members if one[0] is not victim]
            self.start(**arguments)

    def close(self) -> None:
        """End those that are left."""
        for member, _ in self.members:
            member.kill()
            member.wait()

    def run(self, fault: Callable[[], None], pause_s: float = PAUSE_S) -> None:
        """Have a fault every half second for as long as all of them work; then let them end."""
        everybody = self.busy
        try:
            while self.busy == everybody:
                due = time.monotonic() + pause_s
                until(lambda: time.monotonic() >= due or self.busy < everybody, 5, "a fault is due")  # noqa: B023 - now
                if self.busy == everybody:
                    fault()
            until(lambda: not self.busy, 60, "the last ones end")
        finally:
            self.close()

    def verify(self, *flags: str) -> dict[str, Any]:
        """What `enqueued verify` says, which must be that all is as promised."""
        told = run("verify", "--complete", "--json", *flags, *map(str, self.folder.glob("*.jsonl")))
        assert told.returncode == 0, told.stdout + told.stderr
        found: dict[str, Any] = parse(told.stdout)
        return found


def slow(seconds: float = 0.006) -> tuple[str, ...]:
    """A source that takes some seconds for an epoch with two workers."""
    source = ("--sequence", "sources.counting:Slow", "--arg", f"length={BATCHES}", "--arg", f"seconds={seconds}")
    return (*source, "--workers", "2", "--max-queue-size", "32")


@pytest.mark.timeout(180)
def test_three_groups_of_two_members_lose_and_repeat_nothing(tmp_path: Path) -> None:
    """One member is killed every half second, for a whole epoch of 2,000 batches."""
    with Serving(*slow()) as daemon:
        crowd = Crowd(daemon.endpoint, tmp_path)
        for group in GROUPS * 2:
            crowd.start(group=group, start="stored")
        crowd.run(crowd.kill)
        assert crowd.killed >= 5
        groups = {group["group"] for group in crowd.verify()["groups"]}
        assert groups == set(GROUPS)


@pytest.mark.timeout(180)
def test_a_daemon_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    """Private, split and coordinated trainers go on by themselves, and what comes twice says so."""
    with Serving(*slow()) as daemon:
        crowd = Crowd(daemon.endpoint, tmp_path)
        crowd.start()
        for _ in range(2):
            crowd.start(group="red", start="stored")
        for rank in range(2):
            crowd.start(group="ranks", rank=rank, world_size=2)

        def crash() -> None:
            """Kill the daemon once all of them have got on, however long they take to find it."""
            daemon.ready()
            until(lambda: crowd.busy < 5 or served(), 60, "everybody gets on")
            daemon.kill()
            daemon.start()

        def served() -> bool:
            groups = daemon.stream_stats()["groups"]
            return len(groups) == 4 and all(group["delivered"] >= 200 for group in groups)

        crowd.run(crash, 0)
        daemon.ready()  # it was killed once more than was needed
        assert daemon.log.count("serving") >= 5
        found = crowd.verify()
        assert len(found["groups"]) == 3
