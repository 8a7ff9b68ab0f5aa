"""How the fresh interpreters of a pool are started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from enqueued.pool.interpreter import Interpreter
from waiting import until


@contextmanager
def started() -> Iterator[dict[str, str]]:
    """The environment of one."""
    one = Interpreter("enqueued.pool.zygote")
    try:
        environ = Path(f"/proc/{one.process.pid}/environ")
        rows = until(environ.read_text, 5, "the interpreter has begun").split("\0")  # it is empty just after exec
        yield dict(row.split("=", 1) for row in rows if row)
    finally:
        one.cut()
        one.kill()
        one.channel.close()


def test_large_copies_go_past_the_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the user has settings of glibc's own."""
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    with started() as environ:
        assert environ["GLIBC_TUNABLES"] == "glibc.cpu.x86_non_temporal_threshold=0x100000"
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    with started() as environ:
        assert environ["GLIBC_TUNABLES"] == "glibc.malloc.check=1"
