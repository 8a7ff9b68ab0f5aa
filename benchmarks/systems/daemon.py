"""enqueued: a daemon with one worker, and a client in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.batches import ENDLESS, Size
from benchmarks.systems import Feed, Server
from enqueued import Client
from enqueued.client.query import query

ROOT = Path(__file__).resolve().parents[2]
TCP = ("--bind", "tcp://127.0.0.1:*")


@contextmanager
def started(source: str, *flags: str, **arguments: Any) -> Iterator[tuple[str, int]]:
    """A daemon that serves a Sequence: its endpoint and pid. What it says is shown when something goes wrong."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ENQUEUED_")}
    with tempfile.TemporaryDirectory(prefix="enq-bench-", ignore_cleanup_errors=True) as folder:
        endpoint = f"ipc://{folder}/d.sock"
        command = [sys.executable, "-m", "enqueued_cli", "serve", "--endpoint", endpoint, "--sequence", source]
        command += ["--app-dir", str(ROOT), "--log-level", "warning", *flags]
        for key, value in arguments.items():
            command += ["--arg", f"{key}={json.dumps(value)}"]
        log = Path(folder) / "log"
        with log.open("wb") as file:
            daemon = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            yield endpoint, daemon.pid
        except BaseException:
            sys.stderr.write(log.read_text())
            raise
        finally:
            daemon.terminate()
            try:
                daemon.wait(15)
            finally:
                daemon.kill()


@contextmanager
def served(size: Size, folder: Path, *, tcp: bool = False, source: str = "Ready", **arguments: Any) -> Iterator[Feed]:
    """Batches of a daemon: through shared memory, or as frames over loopback with `tcp`."""
    flags = TCP if tcp else ()
    with _ready(size, source, *flags, **arguments) as (endpoint, pid):
        with Client(endpoint, prefetch=size.prefetch, batch_timeout=30) as client:
            where = client.stats()["endpoints"][1] if tcp else endpoint
            if not tcp:
                yield _feed(client, endpoint, pid)
        if tcp:
            with Client(where, prefetch=size.prefetch, batch_timeout=30) as client:
                yield _feed(client, endpoint, pid)


@contextmanager
def serving(size: Size) -> Iterator[Server]:
    """A daemon that is reached over loopback; ``transport`` has a word for each of its clients."""

    def facts() -> dict[str, Any]:
        (group,) = query("stats", endpoint)["streams"][0]["groups"]
        return {"transport": [member["transport"] for member in group["members"]]}

    with _ready(size, "Ready", *TCP) as (endpoint, _):
        with Client(endpoint) as client:
            where = str(client.stats()["endpoints"][1])
        yield Server(where, facts)


@contextmanager
def divided(size: Size, address: str) -> Iterator[Feed]:
    """One client of those that divide the epoch."""
    with Client(address, group="clients", prefetch=size.prefetch, connect_timeout=60, batch_timeout=30) as client:
        yield Feed(batch.data for batch in client.batches())


def _ready(size: Size, source: str, *flags: str, **arguments: Any) -> AbstractContextManager[tuple[str, int]]:
    few = ("--workers", "1", "--max-queue-size", str(size.queue))
    return started(f"benchmarks.batches:{source}", *few, *flags, size=size.name, **arguments)


def _feed(client: Client, endpoint: str, pid: int) -> Feed:
    def usage() -> dict[str, float]:
        stats = query("stats", endpoint)
        stream = stats["streams"][0]
        worker_s = sum(cpu_s(worker["pid"]) for worker in stream["workers"])
        counters = {
            "daemon_cpu_s": stats["cpu_s"],
            "worker_cpu_s": worker_s,
            "starved_s": stream["starved_s"],
            "full_s": stream["full_s"],
        }
        if "messages" in stats:
            counters["messages"] = stats["messages"]
        return counters

    def facts() -> dict[str, Any]:
        stream = query("stats", endpoint)["streams"][0]
        held = resident(pid)
        return {
            "daemon_rss_bytes": held["RssAnon"] + held["RssFile"],
            "slots_mapped_bytes": held["RssShmem"],
            "slot_bytes": stream["slot_bytes"],
            "transport": stream["groups"][0]["members"][0]["transport"],
            "verdict": stream["verdict"],
        }

    return Feed(client.steps(ENDLESS), usage, facts)


def cpu_s(pid: int) -> float:
    """User and system time of a process, in steps of 10 ms."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> dict[str, int]:
    """Resident bytes by kind; what a daemon maps of the slots is RssShmem."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words and words[0].startswith("Rss")}
