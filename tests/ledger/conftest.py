"""A folder of ledgers, written as clients write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from enqueued.ledger.report import GroupReport, Report
from enqueued.ledger.verification import verify
from enqueued.ledger.writer import Ledger, checksum


class Writer:
    """One client's ledger, with little to say for each line."""

    def __init__(self, path: Path, name: str) -> None:
        self.ledger = Ledger(path)
        self.name = name

    def begin(self, kind: str = "private", start: tuple[int, int] = (0, 0), **others: Any) -> Writer:
        """Begin a session; a batch of the source is known by its position."""
        fields = {
            "stream": "train",
            "group": None if kind == "private" else "g",
            "rank": 0,
            "world_size": 1,
            "tail": "drop",
            "base": start,
            "length": None,
            "indexed": True,
            "fixed_epoch": None,
        }
        self.ledger.begin(kind=kind, start=start, member=self.name, **fields | others)  # type: ignore[arg-type] # many
        return self

    def take(self, epoch: int, *indices: int, attempt: int = 0, padded: bool = False, data: str = "") -> Writer:
        """Acknowledge these, in this order."""
        for index in indices:
            sum_ = checksum((data or f"{epoch}:{index}").encode())
            self.ledger.acknowledged((epoch, index), attempt=attempt, padded=padded, checksum=sum_)
        return self

    def skip(self, epoch: int, index: int) -> Writer:
        """Acknowledge a batch that could not be made."""
        self.ledger.acknowledged((epoch, index), attempt=0, padded=False, checksum="", skipped=True)
        return self

    def end(self, epoch: int, length: int) -> Writer:
        """Note an end."""
        self.ledger.ended(epoch, length)
        return self


class Ledgers:
    """Clients, each with a ledger of its own, and what `verify` says of all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writers: list[Writer] = []

    def client(self, name: str = "", *, file: str = "") -> Writer:
        """Another client."""
        name = name or f"h:{len(self.writers)}"
        self.writers.append(Writer(self.folder / (file or name), name))
        return self.writers[-1]

    def close(self) -> None:
        """Close all files."""
        for writer in self.writers:
            writer.ledger.close()

    def verify(self, **options: bool) -> Report:
        """Read all."""
        return verify(sorted(self.folder.iterdir()), **options)

    def only(self, **options: bool) -> tuple[GroupReport, list[str]]:
        """The one group, and its violations in words."""
        report = self.verify(**options)
        (group,) = report.groups
        return group, [f"{one.kind} {one.positions}" for one in report.violations]


@pytest.fixture
def ledgers(tmp_path: Path) -> Iterator[Ledgers]:
    """No client yet."""
    found = Ledgers(tmp_path)
    yield found
    found.close()


@pytest.fixture
def ledgers_in(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Ledgers]:
    """Makes empty folders, for tests with many examples."""
    return lambda: Ledgers(tmp_path_factory.mktemp("ledgers"))
