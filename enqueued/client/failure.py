"""What a trainer is told when its source's code has failed."""

from __future__ import annotations

from typing import Any

from enqueued.errors import BatchTypeError, SourceError


def source_error(told: dict[str, Any], check: str, epoch: int, index: int) -> SourceError:
    """The error for a position, with the user's own traceback and the command that makes the batch again."""
    message, user = str(told.get("message", "")), str(told.get("traceback", ""))
    command = f"{check} --position {epoch}:{index} --pdb"
    text = "\n".join(part for part in (message, user.rstrip(), f"Reproduce it with: {command}") if part)
    kind = BatchTypeError if told.get("kind") == "type" else SourceError
    return kind(text, epoch=epoch, index=index, worker=str(told.get("worker", "")), traceback=user)
