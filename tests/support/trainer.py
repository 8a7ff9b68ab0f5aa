"""A trainer in a process of its own, which does what it is told line by line, and can be killed."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SUPPORT = Path(__file__).parent
_PROGRAM = """
import json, os, sys, traceback
import numpy as np
from enqueued import Client
space = {"Client": Client, "np": np, "os": os}
for line in sys.stdin:
    try:
        code = json.loads(line)
        try:
            answer = ["ok", eval(code, space)]
        except SyntaxError:
            exec(code, space)
            answer = ["ok", None]
    except Exception as error:
        answer = [type(error).__name__, str(error)]
    print(json.dumps(answer), flush=True)
"""


class Trainer:
    """``trainer("expression or statement")`` runs it there; the result, or an AssertionError with what it raised."""

    def __init__(self, uid: int | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            env={**os.environ, "PYTHONPATH": str(SUPPORT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if uid is not None:
            self(f"os.setgid({uid}); os.setuid({uid})")

    def __call__(self, code: str) -> Any:
        kind, value = self.ask(code)
        assert kind == "ok", f"{code} raised {kind}: {value}"
        return value

    def ask(self, code: str) -> tuple[str, Any]:
        """``("ok", result)``, or the error's class and text."""
        self.tell(code)
        return self.answer()

    def tell(self, code: str) -> None:
        """Have it begin something; `answer` waits for the end."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()

    def answer(self) -> tuple[str, Any]:
        """The result of what was begun."""
        assert self.process.stdout is not None
        kind, value = json.loads(self.process.stdout.readline())
        return kind, value

    def answers(self, within_s: float) -> bool:
        """Whether there is a result after so long, or the end of its process."""
        assert self.process.stdout is not None
        return bool(select.select([self.process.stdout], [], [], within_s)[0])

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
