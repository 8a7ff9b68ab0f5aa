"""What ledgers prove, as plain snapshots."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from enqueued.ledger.lines import Kind
from enqueued.ledger.positions import Range


@dataclass(frozen=True)
class GroupReport:
    """What one group was given, and what of it was not as promised.

    `positions` counts those that were due so far, `acknowledged` the lines, `repeated` the lines that came again,
    marked or not, `wrong` all violations that are neither losses nor repetitions, `open` positions that may still be in
    a member's hands, `pads` and `skipped` the lines that say so (and the positions in whose place a rank was given a
    pad), `gaps` what a streamed source left out.
    """

    label: str
    stream: str
    kind: Kind
    group: str | None
    members: int
    epochs: int
    positions: int
    acknowledged: int
    repeated: int
    lost: int
    wrong: int
    open: int
    pads: int
    skipped: int
    gaps: int


@dataclass(frozen=True)
class Finding:
    """Positions of a group of which the same is to be said; `kind` is one of `KINDS`, ``open`` or ``marked``."""

    kind: str
    label: str
    positions: Range
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """What some ledgers prove. Of each kind and group the first thousand findings are kept, and all are counted."""

    groups: tuple[GroupReport, ...]
    violations: tuple[Finding, ...]
    allowed: tuple[Finding, ...]
    counts: dict[str, int]
    """Positions of each kind of finding."""
    cuts: tuple[str, ...]
    lines: int

    @property
    def kept(self) -> bool:
        """Whether all is as promised."""
        return not self.violations

    def to_plain(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return {"kept": self.kept, **asdict(self)}
