"""What `verify` finds: one test for each sentence of what is promised."""

from __future__ import annotations

from typing import Any

import pytest

Ledgers = Any  # the fixture of this folder, which cannot be imported


# -- private groups -----------------------------------------------------------------------------------------------


def test_a_whole_epoch_in_order_is_as_promised(ledgers: Ledgers) -> None:
    """Each position once, in order, over two epochs."""
    ledgers.client().begin().take(0, *range(10)).end(0, 10).take(1, *range(4))
    group, violations = ledgers.only()
    assert violations == []
    assert (group.epochs, group.positions, group.acknowledged, group.open) == (2, 14, 14, 0)


def test_a_gap_in_what_one_session_took_is_lost(ledgers: Ledgers) -> None:
    """A private client takes all from its start on; what is missing in between is a loss."""
    ledgers.client().begin(start=(0, 3)).take(0, 3, 4, 7, 8)
    group, violations = ledgers.only()
    assert violations == ["lost 0:5-0:6"]
    assert (group.positions, group.lost) == (6, 2)


def test_the_end_of_an_ended_epoch_is_due(ledgers: Ledgers) -> None:
    """Once an epoch was told to have ended, all of it counts."""
    ledgers.client().begin().take(0, 0, 1).end(0, 4)
    assert ledgers.only()[1] == ["lost 0:2-0:3"]


def test_an_epoch_that_was_passed_must_be_whole(ledgers: Ledgers) -> None:
    """Who goes on to the next epoch without beginning anew there has had the one before."""
    ledgers.client().begin(length=5).take(0, 0, 1, 2).take(1, 0)
    assert ledgers.only()[1] == ["lost 0:3-0:4"]


def test_an_epoch_that_was_jumped_over_is_lost(ledgers: Ledgers) -> None:
    """Whole epochs can be lost too."""
    ledgers.client().begin().take(0, 0, 1).end(0, 2).take(3, 0)
    assert ledgers.only()[1] == ["lost 1:0", "lost 2:0"]


def test_what_a_break_leaves_is_not_lost(ledgers: Ledgers) -> None:
    """A session that begins in the next epoch leaves the rest of this one on purpose."""
    ledgers.client().begin(length=10).take(0, 0, 1, 2).begin(start=(1, 0)).take(1, 0, 1)
    assert ledgers.only()[1] == []


def test_a_lost_connection_leaves_no_gap(ledgers: Ledgers) -> None:
    """A session that goes on with the one before begins just where that ended."""
    client = ledgers.client().begin().take(0, 0, 1)
    client.begin(start=(0, 3), continued=True).take(0, 3, 4)
    assert ledgers.only()[1] == ["lost 0:2"]


def test_a_lost_connection_repeats_nothing_unmarked(ledgers: Ledgers) -> None:
    """What comes again after a reconnect must say so."""
    client = ledgers.client().begin().take(0, 0, 1)
    client.begin(start=(0, 1), continued=True).take(0, 1, 2)
    group, violations = ledgers.only()
    assert violations == ["repeated 0:1"]
    assert (group.repeated, group.positions, group.acknowledged) == (1, 3, 4)


def test_a_loaded_state_may_go_back(ledgers: Ledgers) -> None:
    """Who begins anew at an earlier position sees it again, as asked for."""
    ledgers.client().begin().take(0, 0, 1, 2).begin(start=(0, 1)).take(0, 1, 2, 3)
    assert ledgers.only()[1] == []


def test_what_a_state_had_out_of_order_is_not_missed(ledgers: Ledgers) -> None:
    """With a window of order, a state names what was taken beyond its position."""
    ledgers.client().begin(start=(0, 3), taken=[(0, 5)], reorder_window=4).take(0, 3, 4, 6).end(0, 7)
    assert ledgers.only()[1] == []


def test_each_private_client_is_a_group(ledgers: Ledgers) -> None:
    """Private clients each see everything, which is no repetition."""
    for _ in range(3):
        ledgers.client(file="shared").begin().take(0, *range(5)).end(0, 5)
    report = ledgers.verify()
    assert report.kept
    assert [group.positions for group in report.groups] == [5, 5, 5]


def test_each_pass_over_a_fixed_epoch_counts(ledgers: Ledgers) -> None:
    """A pass may be left, but what was passed over in it is lost."""
    client = ledgers.client().begin(start=(7, 0), fixed_epoch=7).take(7, 0, 1, 2).end(7, 3)
    client.begin(start=(7, 0), fixed_epoch=7).take(7, 0)
    client.begin(start=(7, 0), fixed_epoch=7).take(7, 0, 2).end(7, 3).take(7, 0, 1, 2).end(7, 3)
    group, violations = ledgers.only()
    assert violations == ["lost 7:1"]
    assert (group.epochs, group.acknowledged, group.repeated) == (1, 9, 0)


def test_a_position_before_the_start_is_stray(ledgers: Ledgers) -> None:
    """Nobody asked for what lies before the start."""
    ledgers.client().begin(start=(1, 3)).take(1, 3, 2, 4).take(0, 9)
    assert ledgers.only()[1] == ["stray 0:9", "stray 1:2"]


def test_a_position_beyond_the_end_is_stray(ledgers: Ledgers) -> None:
    """An epoch has as many batches as the daemon says."""
    ledgers.client().begin().take(0, *range(5)).end(0, 3)
    assert ledgers.only()[1] == ["stray 0:3-0:4"]


def test_two_lengths_of_an_epoch_are_told(ledgers: Ledgers) -> None:
    """Members of a group see the same end."""
    ledgers.client().begin("split").take(0, 0, 2).end(0, 3)
    ledgers.client().begin("split").take(0, 1).end(0, 2)
    assert [one for one in ledgers.only()[1] if one.startswith("lengths")] == ["lengths 0:2", "lengths 0:3"]


def test_disorder_is_told(ledgers: Ledgers) -> None:
    """Without a window of order, each position is higher than the ones before."""
    ledgers.client().begin().take(0, 0, 2, 1, 3)
    assert ledgers.only()[1] == ["disordered 0:1"]


def test_the_window_of_order_is_respected(ledgers: Ledgers) -> None:
    """A batch may come late by that many positions; what may still come so is open, not lost."""
    client = ledgers.client().begin(reorder_window=2).take(0, 0, 3, 1, 4, 2, 5, 6, 8)
    group, violations = ledgers.only()
    assert (violations, group.open) == ([], 1)
    client.take(0, 10, 7)
    assert ledgers.only()[1] == ["disordered 0:7"]
    client.take(0, 20)
    assert ledgers.only()[1] == ["lost 0:9", "lost 0:11-0:17", "disordered 0:7"]


def test_a_skipped_batch_counts_as_delivered(ledgers: Ledgers) -> None:
    """What could not be made was told, and has no data to compare."""
    ledgers.client().begin().take(0, 0).skip(0, 1).take(0, 2).end(0, 3)
    group, violations = ledgers.only()
    assert (violations, group.skipped, group.acknowledged) == ([], 1, 3)


# -- named groups -------------------------------------------------------------------------------------------------


def test_members_split_an_epoch(ledgers: Ledgers) -> None:
    """Over all members each position of an ended epoch comes exactly once."""
    ledgers.client().begin("split").take(0, 0, 2, 4).end(0, 6)
    ledgers.client().begin("split", start=(0, 1)).take(0, 1, 5)
    group, violations = ledgers.only()
    assert violations == ["lost 0:3"]
    assert (group.members, group.positions) == (2, 6)


def test_what_is_missing_in_the_last_epoch_of_a_split_group_is_open(ledgers: Ledgers) -> None:
    """A member may still work on it, until nobody does."""
    ledgers.client().begin("split", length=9).take(0, 0, 1, 5)
    group, violations = ledgers.only()
    assert (violations, group.open, group.lost, group.positions) == ([], 3, 0, 6)
    group, violations = ledgers.only(complete=True)
    assert (violations, group.open, group.lost) == (["lost 0:2-0:4"], 0, 3)


def test_a_later_epoch_ends_the_ones_before(ledgers: Ledgers) -> None:
    """The members of a group are in one epoch; the end may be in nobody's ledger."""
    ledgers.client().begin("split", length=4).take(0, 0, 1, 3)
    ledgers.client().begin("split", start=(1, 0)).take(1, 0)
    assert ledgers.only()[1] == ["lost 0:2"]


def test_a_marked_repetition_is_allowed(ledgers: Ledgers) -> None:
    """What a dead member held comes again and says so, whichever line is read first."""
    ledgers.client().begin("split").take(0, 1, attempt=1).take(0, 0, attempt=1).take(0, 2)
    ledgers.client().begin("split").take(0, 0, 1).take(0, 1, attempt=1).end(0, 3)
    report = ledgers.verify()
    assert report.kept
    assert report.groups[0].repeated == 3
    assert [f"{one.kind} {one.positions}" for one in report.allowed] == ["marked 0:0-0:1"]


def test_an_unmarked_repetition_is_not(ledgers: Ledgers) -> None:
    """Two members that each think to be the first."""
    ledgers.client().begin("split").take(0, 0, 1, 2)
    ledgers.client().begin("split").take(0, 1, 3)
    assert ledgers.only()[1] == ["repeated 0:1"]


def test_a_group_that_begins_anew_is_another_life(ledgers: Ledgers) -> None:
    """What comes again because the group was rewound is no repetition; what was open before may come then."""
    ledgers.client().begin("split", run="1").take(0, 0, 1, 3)
    ledgers.client().begin("split", start=(0, 1), run="2").take(0, 1, 2, 3, 4).end(0, 5)
    group, violations = ledgers.only(complete=True)
    assert (violations, group.open, group.repeated) == ([], 0, 0)


def test_groups_do_not_mix(ledgers: Ledgers) -> None:
    """Each group, and each stream, sees everything."""
    for name, stream in (("a", "train"), ("b", "train"), ("a", "val")):
        ledgers.client().begin("split", group=name, stream=stream).take(0, 0, 1, data=f"{stream}").end(0, 2)
    report = ledgers.verify()
    assert report.kept
    assert [group.label for group in report.groups] == ["train/a", "train/b", "val/a"]


# -- ranks --------------------------------------------------------------------------------------------------------


def ranks(ledgers: Ledgers, shares: list[list[int]], **others: Any) -> list[Any]:
    """Clients that are ranks, and took these shares of epoch 0."""
    found = []
    for rank, share in enumerate(shares):
        client = ledgers.client().begin("ranks", rank=rank, world_size=len(shares), **others)
        found.append(client.take(0, *share))
    return found


def test_ranks_have_their_shares(ledgers: Ledgers) -> None:
    """Rank r has each W-th position from base + r on; with "drop" the rest of the epoch is nobody's."""
    for client in ranks(ledgers, [[3, 5, 7], [4, 6, 8]], base=(0, 3)):
        client.end(0, 10)
    group, violations = ledgers.only()
    assert (violations, group.positions, group.label) == ([], 6, "train/g (2 ranks)")


def test_a_rank_that_takes_of_another_is_told(ledgers: Ledgers) -> None:
    """What is another rank's is stray, and does not stand in for what that one should have had."""
    first, second = ranks(ledgers, [[0, 2, 3], [1]])
    first.end(0, 4)
    second.end(0, 4)
    assert ledgers.only()[1] == ["lost 0:3", "stray 0:3"]


def test_all_ranks_have_the_same_steps(ledgers: Ledgers) -> None:
    """Of a share that is short, it is told what is missing; a batch of the incomplete last step is stray."""
    first, second, third = ranks(ledgers, [[0, 3, 6], [1], [2, 5]])
    for client in (first, second, third):
        client.end(0, 8)
    assert ledgers.only()[1] == ["lost 0:4", "stray 0:6"]


def test_pads_are_due_at_the_end(ledgers: Ledgers) -> None:
    """With "pad" the last step is filled with the beginning of the epoch."""
    clients = ranks(ledgers, [[1, 5, 9], [2, 6], [3, 7], [4, 8]], base=(0, 1), tail="pad")
    for client, repeats in zip(clients, (None, 0, 1, 2), strict=True):
        if repeats is not None:
            client.take(0, repeats, padded=True)
        client.end(0, 10)
    group, violations = ledgers.only()
    assert (violations, group.pads, group.positions, group.acknowledged) == ([], 3, 9, 12)


@pytest.mark.parametrize(
    ("tail", "pads", "violations"),
    [
        ("pad", [], ["unequal 0:0"]),
        ("pad", [1], ["unequal 0:0", "stray 0:1"]),
        ("pad", [0, 0], ["repeated 0:0"]),
        ("pad", [0, 1], ["stray 0:1"]),
        ("drop", [0], ["stray 0:0", "stray 0:2"]),
    ],
)
def test_wrong_pads_are_told(ledgers: Ledgers, tail: str, pads: list[int], violations: list[str]) -> None:
    """A rank has the one pad that is due, no other, and not twice."""
    first, second = ranks(ledgers, [[0, 2], [1]], tail=tail)
    first.end(0, 3)
    second.take(0, *pads, padded=True).end(0, 3)
    assert sorted(ledgers.only()[1]) == sorted(violations)


def test_a_pad_that_comes_again_is_marked(ledgers: Ledgers) -> None:
    """A pad is redelivered like any batch."""
    first, second = ranks(ledgers, [[0, 2], [1]], tail="pad")
    first.end(0, 3)
    second.take(0, 0, padded=True).take(0, 0, padded=True, attempt=1).end(0, 3)
    report = ledgers.verify()
    assert report.kept
    assert [one.kind for one in report.allowed] == ["marked"]


def test_a_lost_batch_is_lost_beside_a_pad(ledgers: Ledgers) -> None:
    """The pad at the end stands in for nothing else."""
    first, second = ranks(ledgers, [[0, 4], [3]], tail="pad")
    first.end(0, 5)
    second.take(0, 0, padded=True).end(0, 5)
    assert ledgers.only()[1] == ["lost 0:2", "lost 0:1"]


def test_a_pad_stands_in_for_a_skipped_batch(ledgers: Ledgers) -> None:
    """Where a batch could not be made, its rank has a copy of another, so that the steps stay equal."""
    first, second = ranks(ledgers, [[0, 2, 4], [1]])
    first.end(0, 6)
    second.take(0, 1, padded=True).take(0, 5).end(0, 6)
    group, violations = ledgers.only()
    assert (violations, group.skipped, group.pads) == ([], 1, 1)


def test_a_pad_outside_ranks_is_stray(ledgers: Ledgers) -> None:
    """Only ranks are kept equal."""
    ledgers.client().begin().take(0, 0, 1).take(0, 0, padded=True)
    assert ledgers.only()[1] == ["stray 0:0"]


def test_what_a_late_rank_has_not_had_is_open(ledgers: Ledgers) -> None:
    """A dead rank's positions wait for it; a gap in what it took is lost."""
    ranks(ledgers, [[0, 3, 6, 9], [1, 7], [2]])
    group, violations = ledgers.only()
    assert violations == ["lost 0:4"]
    assert group.open == 2  # 5 and 8
    assert ledgers.only(complete=True)[1] == ["lost 0:4", "lost 0:5-0:8 in steps of 3"]


def test_a_rank_that_never_came_is_seen(ledgers: Ledgers) -> None:
    """World size 2 and one ledger: the other half is open, and lost when nobody works any more."""
    ledgers.client().begin("ranks", rank=0, world_size=2).take(0, 0, 2, 4).end(0, 6)
    assert ledgers.only()[0].open == 3
    assert ledgers.only(complete=True)[1] == ["lost 0:1-0:5 in steps of 2"]


def test_ranks_may_break(ledgers: Ledgers) -> None:
    """What all ranks leave by beginning the next epoch is not missed; in later epochs the base is 0."""
    for client in ranks(ledgers, [[2, 4], [3, 5]], base=(0, 2)):
        rank = int(client.name[-1])
        client.begin("ranks", rank=rank, world_size=2, base=(0, 2), start=(1, rank)).take(1, rank, rank + 2).end(1, 4)
    group, violations = ledgers.only(complete=True)
    assert (violations, group.positions) == ([], 8)


def test_ranks_may_be_resumed_with_another_number(ledgers: Ledgers) -> None:
    """From two ranks to four in mid-epoch: what was in flight is taken by the others."""
    ranks(ledgers, [[0, 2, 4], [1]])
    for rank in range(4):
        client = ledgers.client().begin("ranks", start=(0, 2 + rank), base=(0, 2), rank=rank, world_size=4)
        client.take(0, 2 + rank).end(0, 6)
    group, violations = ledgers.only(complete=True)
    assert (violations, group.label) == ([], "train/g (2 and 4 ranks)")


def test_a_rank_that_died_goes_on(ledgers: Ledgers) -> None:
    """A new client of the same rank is given what the old one held, marked."""
    ranks(ledgers, [[0, 2, 4], [1, 3]])
    client = ledgers.client().begin("ranks", start=(0, 5), base=(0, 0), rank=1, world_size=2)
    client.take(0, 3, attempt=1).take(0, 5).end(0, 6)
    group, violations = ledgers.only(complete=True)
    assert (violations, group.repeated) == ([], 1)


def test_a_rank_that_reconnects_goes_on_in_its_life(ledgers: Ledgers) -> None:
    """In a later epoch the base is that epoch's beginning; the life is the same, for a new client of the run too."""
    first, second = ranks(ledgers, [[3, 5], [4, 6]], base=(0, 3), run="x")
    first.end(0, 7).take(1, 0, 2, 4).end(1, 6)
    second.end(0, 7).take(1, 1)
    second.begin("ranks", start=(1, 3), base=(1, 0), rank=1, world_size=2, continued=True, run="x").take(1, 3)
    third = ledgers.client("a").begin("ranks", start=(1, 5), base=(1, 0), rank=1, world_size=2, run="x")
    third.take(1, 3, attempt=1).take(1, 5).end(1, 6)
    group, violations = ledgers.only(complete=True)
    assert (violations, group.positions, group.repeated) == ([], 10, 1)


def test_a_run_of_ranks_that_is_resumed_may_repeat(ledgers: Ledgers) -> None:
    """What was taken after the state that a run goes on from comes again, in another life."""
    ranks(ledgers, [[0, 2, 4], [1, 3, 5]], run="x")
    for rank in range(2):
        client = ledgers.client().begin("ranks", start=(0, 4 + rank), base=(0, 4), rank=rank, world_size=2, run="y")
        client.take(0, 4 + rank, 6 + rank).end(0, 8)
    group, violations = ledgers.only(complete=True)
    assert (violations, group.repeated) == ([], 0)


# -- data ---------------------------------------------------------------------------------------------------------


def test_other_data_is_wrong_and_names_who_saw_it(ledgers: Ledgers) -> None:
    """One position, one content: in every group, member and attempt."""
    ledgers.client("a:1").begin().take(0, 0, 1, 2, 3).end(0, 4)
    ledgers.client("b:2").begin("split").take(0, 0).take(0, 1, 2, data="x").take(0, 3).end(0, 4)
    report = ledgers.verify()
    (finding,) = report.violations
    assert (finding.kind, str(finding.positions), report.counts) == ("wrong", "0:1-0:2", {"wrong": 2})
    assert "a:1 of train (private) a:1 saw" in finding.detail
    assert "at 0:1, b:2 of train/g " in finding.detail
    assert [group.wrong for group in report.groups] == [2, 2]


def test_pads_are_compared_too(ledgers: Ledgers) -> None:
    """A pad has the data of the batch that it repeats."""
    first, second = ranks(ledgers, [[0, 2], [1]], tail="pad")
    first.end(0, 3)
    second.take(0, 0, padded=True, data="x").end(0, 3)
    assert ledgers.only()[1] == ["wrong 0:0"]


def test_a_streamed_source_may_have_gaps(ledgers: Ledgers) -> None:
    """At most once: gaps are counted, data is not compared, repetitions are told."""
    ledgers.client().begin(indexed=False).take(0, 0, 1, 5, 5).end(0, 7)
    ledgers.client().begin("split", indexed=False).take(0, 0, 1, data="x").end(0, 2)
    report = ledgers.verify(complete=True)
    assert [f"{one.kind} {one.positions}" for one in report.violations] == ["repeated 0:5"]
    assert [(group.gaps, group.lost, group.open) for group in report.groups] == [(4, 0, 0), (0, 0, 0)]
