"""``enqueued verify``: whether batches were delivered as often as promised, from what the clients noted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enqueued_cli.table import aligned, count, thousands

if TYPE_CHECKING:  # help does not need it
    from enqueued.ledger.report import Finding, GroupReport, Report

MOST = 20  # findings that are shown of each kind


@click.command()
@click.argument(
    "ledgers",
    metavar="LEDGER...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--complete", is_flag=True, help="Nobody works any more: what is still open is lost.")
@click.option("-v", "--verbose", is_flag=True, help="List also what is open, and what came again and says so.")
@click.option("--json", "as_json", is_flag=True, help="All of it as one line of JSON.")
def verify(ledgers: tuple[Path, ...], complete: bool, verbose: bool, as_json: bool) -> int:
    """Prove that each batch was delivered as often as promised.

    \b
        enqueued verify run7.ledger
        enqueued verify --complete /ledgers/*.ledger

    A client that is opened with ledger=PATH, or with ENQUEUED_LEDGER in its environment, appends a line for each batch
    that it acknowledges; these files are all that is read. Give all files of a group: what is only in another one is
    missing here. OPEN are batches that may still be in a trainer's hands; WRONG is what came with other data than
    elsewhere, out of order, or to the wrong rank. The exit code is 0 if all is as promised, else 1.
    """
    from enqueued.ledger.verification import verify as verified  # late: help does not need it

    report = verified(ledgers, complete=complete)
    if as_json:
        click.echo(json.dumps(report.to_plain()))
    else:
        click.echo("\n".join(_lines(report, verbose)))
    return 0 if report.kept else 1


def _lines(report: Report, verbose: bool) -> Iterator[str]:
    from enqueued.ledger.settlement import KINDS

    if not report.groups:
        yield "No client has begun in these ledgers: they prove nothing."
    else:
        yield from aligned([list(_TITLES), *map(_row, report.groups)])
    for group in report.groups:
        notes = [f"{thousands(number)} {what}" for number, what in _notes(group) if number]
        if notes:
            yield f"{group.label}: {', '.join(notes)}"
    yield from report.cuts
    for kind, findings in groupby(report.violations, lambda finding: finding.kind):
        number = report.counts[kind]
        yield from _section(f"{kind}: {count(number, 'position')}, {KINDS[kind]}", [*findings], number)
    if verbose:
        for kind, findings in groupby(report.allowed, lambda finding: finding.kind):
            yield from _section(_ALLOWED[kind], [*findings], report.counts[kind])
    if report.groups or not report.kept:
        yield ""
        yield f"{count(report.lines, 'line')}: {'all is as promised' if report.kept else 'not as promised'}"


_TITLES = ("GROUP", "EPOCHS", "POSITIONS", "ACKNOWLEDGED", "REPEATED", "LOST", "WRONG", "OPEN")
_ALLOWED = {
    "marked": "repeated, and marked as redelivered, which is allowed:",
    "open": "open, perhaps still in a trainer's hands:",
}


def _row(group: GroupReport) -> list[str]:
    numbers = (
        group.epochs,
        group.positions,
        group.acknowledged,
        group.repeated,
        group.lost,
        group.wrong,
        group.open,
    )
    return [group.label, *map(thousands, numbers)]


def _notes(group: GroupReport) -> list[tuple[int, str]]:
    return [
        (group.pads, "pads"),
        (group.skipped, "skipped, for they could not be made"),
        (group.gaps, "left out by the streamed source"),
    ]


def _section(title: str, findings: list[Finding], number: int) -> Iterator[str]:
    yield ""
    yield title
    rows = [[finding.label, str(finding.positions), finding.detail] for finding in findings[:MOST]]
    yield from ("  " + line for line in aligned(rows))
    if more := number - sum(finding.positions.count for finding in findings[:MOST]):
        yield f"  and {count(more, 'more position')}"
