"""What the user's code raised, told in one line and with the user's own traceback."""

from __future__ import annotations

import os
import sysconfig
import traceback
from types import TracebackType
from typing import Any

from enqueued.errors import LoadError, SourceError

_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_INSTALLED = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platlib", "purelib")})
_LINE_LIMIT = 500


def summary(error: BaseException) -> str:
    """The error's type and the first line of its text, such as ``ValueError: no such folder``."""
    try:
        text = str(error).strip()
    except Exception:  # a user's __str__ may raise anything, and must not hide the error itself
        text = "<its text could not be made>"
    kind = type(error).__qualname__
    return f"{kind}: {text.splitlines()[0][:_LINE_LIMIT]}" if text else kind


def user_traceback(error: BaseException) -> str:
    """The error's traceback as text, without enqueued's frames that led to the user's code and without importlib's."""
    whole = traceback.TracebackException.from_exception(error)
    _strip(whole, through=True)
    return "".join(whole.format())


def place(error: BaseException) -> str:
    """Where the user's code raised, as ``file:line``: the innermost frame that is not of an installed package.

    Falls back to the innermost frame outside enqueued, and to an empty text when there is none.
    """
    inner = ""
    own = ""
    step: TracebackType | None = error.__traceback__
    while step is not None:
        file = step.tb_frame.f_code.co_filename
        if not _is_machinery(file) and not file.startswith(_OWN):
            inner = f"{file}:{step.tb_lineno}"
            if not file.startswith(_INSTALLED):
                own = inner
        step = step.tb_next
    return own or inner


def a(value: Any) -> str:
    """What kind of thing it is, with its article: ``a list``, ``an int``."""
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"


def load_error(who: str, error: BaseException) -> LoadError:
    """The LoadError for what the user's code raised while `who` was loaded."""
    return LoadError(f"{who} raised {summary(error)}", user_traceback(error))


def source_error(
    error: BaseException, *, target: str, epoch: int, index: int, worker: str = "", doing: str = ""
) -> SourceError:
    """The SourceError for what the user's code raised at one position; `doing` names the call when it is not a make."""
    if isinstance(error, SourceError):
        return error
    where = place(error)
    text = f"{target}{'.' + doing if doing else ''} raised {summary(error)}"
    text += f" ({where})" if where else ""
    text += f" at position {epoch}:{index}" if index >= 0 else f" in epoch {epoch}"
    text += f" in {worker}" if worker else ""
    return SourceError(text, epoch=epoch, index=index, worker=worker, traceback=user_traceback(error))


def _strip(whole: traceback.TracebackException, *, through: bool) -> None:
    """Drops the frames that led to the user's code: with `through`, also what called enqueued in the first place.

    An error with no frame of the user's keeps all of them: it may be a fault of enqueued's own.
    """
    frames = [frame for frame in whole.stack if not _is_machinery(frame.filename)]
    start = 0
    if through:
        start = next((n for n, frame in enumerate(frames) if frame.filename.startswith(_OWN)), 0)
    while start < len(frames) and frames[start].filename.startswith(_OWN):
        start += 1
    whole.stack[:] = frames[start:] or frames
    for chained in (whole.__cause__, whole.__context__):
        if chained is not None:
            _strip(chained, through=False)


def _is_machinery(file: str) -> bool:
    return file.startswith("<frozen importlib") or file.endswith(os.path.join("importlib", "__init__.py"))
