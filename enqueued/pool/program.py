"""The calling program, as a process of its pool has to know it to import the same modules."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

from enqueued.source.image import hold_blas_to_one_thread


@dataclass(frozen=True)
class Program:
    """Where the calling program runs and what it imports from; `main` is its own module, if that is needed.

    It is found again as multiprocessing's spawn finds it: by name (``python -m``) or by path, and run as `__mp_main__`,
    so that what stands under ``if __name__ == "__main__"`` is left out.
    """

    path: list[str]
    folder: str
    argv: list[str]
    environ: dict[str, str]
    authkey: bytes
    main_name: str = ""
    main_path: str = ""
    modules: list[str] = field(default_factory=list)
    """What to import once for all pools of the program."""

    @classmethod
    def here(cls, modules: list[str]) -> Program:
        """This program; its main module is needed if it is one of the `modules`."""
        from multiprocessing.process import current_process

        name = path = ""
        if "__main__" in modules:
            name, path = main_module()
        return cls(
            [entry or os.getcwd() for entry in sys.path],
            os.getcwd(),
            list(sys.argv),
            dict(os.environ),
            bytes(current_process().authkey),
            name,
            path,
            [one for one in modules if one not in ("__main__", "__mp_main__")],
        )

    def to_plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def enter(self) -> None:
        """Be a process of this program: its folder, its variables, its modules' path, its main module."""
        from multiprocessing import spawn
        from multiprocessing.process import current_process

        os.environ.clear()
        os.environ.update({**self.environ, **hold_blas_to_one_thread(self.environ)})
        sys.path[:], sys.argv[:] = self.path, self.argv
        with contextlib.suppress(OSError):  # it may be gone by now, and then the program does without it too
            os.chdir(self.folder)
        process: Any = current_process()
        process.authkey = self.authkey
        process._inheriting = True  # by which multiprocessing knows that this is not the program itself
        try:
            if self.main_name:
                spawn.prepare({"init_main_from_name": self.main_name})
            elif self.main_path:
                spawn.prepare({"init_main_from_path": self.main_path})
        finally:
            del process._inheriting

    def warm(self) -> None:
        """Import what is common to all pools; what fails here fails again, and is told, where it is needed."""
        with contextlib.suppress(BaseException):
            self.enter()
        for module in self.modules:
            with contextlib.suppress(BaseException):
                importlib.import_module(module)


def main_module() -> tuple[str, str]:
    """The name of the program's main module, or the path of its file; neither can be had in an interactive session."""
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name:
        return name, ""
    file = getattr(main, "__file__", None)
    if not file:
        return "", ""
    from multiprocessing import process

    folder: Any = process.ORIGINAL_DIR  # type: ignore[attr-defined] # not in the stubs
    return "", os.path.join(folder, file)
