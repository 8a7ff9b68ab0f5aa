"""From rounds to medians, ratios and verdicts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.batches import SIZES
from benchmarks.report import aligned, size_table, target_table
from benchmarks.results import Target, middle, ratio, targets
from benchmarks.rounds import Measured
from benchmarks.systems import SYSTEMS

BIG = SIZES["big"]


def measured(system: str, *rates: float | None, **more: Any) -> Measured:
    rounds = [None if rate is None else {"batches_per_s": rate, **more} for rate in rates]
    return Measured(SYSTEMS[system], BIG, rounds)


def test_ratios_are_taken_within_a_round() -> None:
    """A host that slows down between rounds changes no ratio; a round that failed does not count."""
    ours = measured("enqueued", 100.0, 10.0, 50.0)
    theirs = measured("torch", 10.0, 1.0, None)
    assert ratio(ours, theirs) == 10.0
    assert ratio(ours, measured("torch", None)) is None


def test_the_middle_leaves_out_failed_rounds() -> None:
    """The median of what there is."""
    assert middle(measured("enqueued", 1.0, None, 3.0), "batches_per_s") == 2.0
    assert middle(measured("enqueued", None), "batches_per_s") is None


def test_targets_say_what_is_reached() -> None:
    """Reached, not reached, and not measured are three things."""
    found = targets([measured("enqueued", 80.0, daemon_cpu_us=60.0), measured("torch", 8.0)], ["big"])
    verdicts = {target.what: target.verdict for target in found}
    assert verdicts["big: enqueued / torch"] == "reached"
    assert verdicts["big: enqueued / memory-slot"] == "not measured"
    assert verdicts["big: daemon's CPU per batch"] == "NOT reached"
    assert not any(what.startswith("small") for what in verdicts)


def test_a_peer_that_is_not_installed_is_named() -> None:
    """Its row says so; nothing is left out silently."""
    system = replace(SYSTEMS["torch"], needs="no_such_module")
    assert not system.installed
    missing = Measured(system, BIG, trouble="not installed (no_such_module)")
    table = size_table(BIG, [measured("enqueued", 80.0), missing])
    assert "not installed (no_such_module)" in table


def test_tables_are_aligned() -> None:
    """Numbers stand under each other."""
    assert aligned([["a", "1"], ["bcd", "234"]]) == "a      1\nbcd  234"
    line = target_table([Target("help", None, 150.0, "ms", 40.0)]).splitlines()[1]
    assert line.split() == ["help", "<=", "150", "ms", "40.0", "ms", "reached"]
