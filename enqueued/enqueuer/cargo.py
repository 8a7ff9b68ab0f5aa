"""The user's object on its way from the calling program to its pool."""

from __future__ import annotations

import ast
from typing import Any

from enqueued.enqueuer.forking import ways_out, why_not
from enqueued.enqueuer.nursery import ForkedRoot, PlantedRoot
from enqueued.errors import LoadError
from enqueued.pool.channel import Message
from enqueued.pool.edition import Edition
from enqueued.pool.generation import Root
from enqueued.pool.program import Program, main_module
from enqueued.source.spec import SourceSpec


class Cargo:
    """A sequence or an iterator; it goes by pickle, or where that cannot be by a fork of this program.

    Raises LoadError when it can go neither way.
    """

    def __init__(self, user: Any, spec: SourceSpec, order_seed: int | None) -> None:
        self._user = user
        self._spec = spec
        self._order_seed = order_seed
        self._edition: Edition | None = None
        self._program: Program
        self._fresh: ForkedRoot | None = None
        self._unpicklable: Exception | None = None
        try:
            self.pack()
        except Exception as error:  # what a user's __getstate__ raises may be anything
            self._unpicklable = error
            self._program = Program.here([])
            self.fork()

    @property
    def forks(self) -> bool:
        """Whether it goes by a fork, each time anew when it has changed."""
        return self._unpicklable is not None

    def pack(self) -> tuple[int, ...]:
        """Pack it as it is now; the descriptors of its edition, which are this object's until the next call."""
        edition = Edition(self._user, self._edition)
        modules = [type(self._user).__module__]
        if b"__main__" in edition.pickled:
            _check_main()
            modules.append("__main__")
        self._program = Program.here(modules)
        self._edition = edition
        return edition.files

    def fork(self) -> None:
        """Fork it as it is now, in the thread of the consumer: `root` gives what was forked last."""
        assert self._unpicklable is not None
        hazard = why_not()
        if hazard is not None:
            raise LoadError(ways_out(self._user, self._unpicklable, hazard)) from self._unpicklable
        boot = {"spec": self._spec.to_plain(), "start_method": "zygote"}
        self._fresh = ForkedRoot({**boot, "sent": self._sent()}, self._user)

    def root(self, boot: Message) -> Root:
        """The first zygote of a pool that has it."""
        if self._edition is not None:
            return PlantedRoot({**boot, "sent": self._sent()}, *self._edition.files)
        fresh, self._fresh = self._fresh, None
        if fresh is None:
            raise LoadError(
                f"the process that was forked with {self._spec.target} has ended, and what cannot be pickled cannot be "
                "sent again"
            )
        return fresh

    def _sent(self) -> dict[str, Any]:
        return {"program": self._program.to_plain(), "order_seed": self._order_seed}

    def close(self) -> None:
        """Give back what is held of it."""
        self._edition = None
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            fresh.end(0.0)


def _check_main() -> None:
    """Raises LoadError unless another process can import what the main module defines."""
    name, path = main_module()
    if name.rpartition(".")[2] == "__main__":  # of a package, a folder or an archive: multiprocessing skips these
        raise LoadError(f"{name} starts the program and cannot be imported; move what it defines to another module")
    if not name and not path:
        raise LoadError("it is defined in an interactive session, which no other process can import")
    if path and not _is_guarded(path):
        raise LoadError(
            f'{path} would run as a whole to import it: put what starts an enqueuer under if __name__ == "__main__"'
        )


def _is_guarded(path: str) -> bool:
    """Whether a file asks somewhere whether it is the main program."""
    try:
        with open(path, "rb") as file:
            nodes = list(ast.walk(ast.parse(file.read())))
    except (OSError, SyntaxError, ValueError):
        return False
    questions = [[node.left, *node.comparators] for node in nodes if isinstance(node, ast.Compare)]
    return any(
        any(isinstance(one, ast.Name) and one.id == "__name__" for one in question)
        and any(isinstance(one, ast.Constant) and one.value == "__main__" for one in question)
        for question in questions
    )
