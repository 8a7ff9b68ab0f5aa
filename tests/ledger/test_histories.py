"""Random histories of deliveries, some of them wrong, against a model that keeps every line in dictionaries."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Ledgers = Any  # made by a fixture of this folder, which cannot be imported
Position = tuple[int, int]
Told = dict[str, set[Position]]


@dataclass
class Ack:
    """One acknowledged batch."""

    position: Position
    attempt: int = 0
    data: str = ""


@dataclass
class Member:
    """One client: what it took, in order, with the ends of epochs (as numbers) in between."""

    group: int
    rank: int = 0
    took: list[Ack | int] = field(default_factory=list)


@dataclass
class World:
    """Three groups over some epochs of one stream."""

    lengths: list[int]
    last_ended: bool
    world_size: int
    base: int
    members: list[Member]

    def acks(self, group: int) -> list[tuple[Member, Ack]]:
        """What all members of a group took."""
        return [
            (member, one)
            for member in self.members
            if member.group == group
            for one in member.took
            if isinstance(one, Ack)
        ]


PRIVATE, SPLIT, RANKS = range(3)
KIND = ("private", "split", "ranks")


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """What a right daemon would deliver, with a few faults in it."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    world_size = draw(st.integers(1, 3))
    base = draw(st.integers(0, lengths[0] - 1))
    members = [Member(PRIVATE)]
    members += [Member(SPLIT) for _ in range(draw(st.integers(1, 3)))]
    members += [Member(RANKS, rank) for rank in range(world_size)]
    world = World(lengths, draw(st.booleans()), world_size, base, members)
    split = [member for member in members if member.group == SPLIT]
    for epoch, length in enumerate(lengths):
        first = base if epoch == 0 else 0
        for index in range(length):
            members[0].took.append(Ack((epoch, index)))
            draw(st.sampled_from(split)).took.append(Ack((epoch, index)))
            if first <= index < first + (length - first) // world_size * world_size:
                members[-world_size + (index - first) % world_size].took.append(Ack((epoch, index)))
        if epoch < len(lengths) - 1 or world.last_ended:
            for member in members:
                member.took.append(epoch)
    for _ in range(draw(st.integers(0, 4))):
        fault(draw, world)
    return world


def fault(draw: st.DrawFn, world: World) -> None:
    """Lose, repeat, falsify, swap or give away a batch."""
    member = draw(st.sampled_from(world.members))
    places = [place for place, one in enumerate(member.took) if isinstance(one, Ack)]
    if not places:
        return
    place = draw(st.sampled_from(places))
    ack = member.took[place]
    assert isinstance(ack, Ack)
    match draw(st.sampled_from(["lose", "again", "marked", "other", "swap", "give"])):
        case "lose":
            del member.took[place]
        case "again":
            member.took.insert(place + 1, Ack(ack.position))
        case "marked":
            member.took.insert(place + 1, Ack(ack.position, attempt=1))
        case "other":
            ack.data = draw(st.sampled_from(["x", "y"]))
        case "swap":
            other = draw(st.sampled_from(places))
            member.took[place], member.took[other] = member.took[other], ack
        case "give":
            del member.took[place]
            others = [one for one in world.members if one.group == member.group]
            draw(st.sampled_from(others)).took.append(ack)


def model(world: World, group: int, complete: bool) -> Told:
    """What is wrong in a group, from first principles."""
    told: Told = defaultdict(set)
    acks = world.acks(group)
    firsts = Counter(ack.position for _, ack in acks if not ack.attempt)
    valid: list[tuple[Member, Ack]] = []
    for member, ack in acks:
        epoch, index = ack.position
        first = world.base if epoch == 0 and group == RANKS else 0
        if group == RANKS and (index < first or (index - first) % world.world_size != member.rank):
            told["stray"].add(ack.position)
        else:
            valid.append((member, ack))
    seen = {ack.position for _, ack in valid}
    own_firsts = Counter(ack.position for _, ack in valid if not ack.attempt)
    told["repeated"] = {position for position, count in own_firsts.items() if count > 1}
    assert group == RANKS or own_firsts == firsts
    for epoch, length in enumerate(world.lengths):
        ended = epoch < len(world.lengths) - 1 or world.last_ended
        first = world.base if epoch == 0 and group == RANKS else 0
        end = first + (length - first) // world.world_size * world.world_size if group == RANKS else length
        highest = max((index for at, index in seen if at == epoch), default=-1)
        for index in range(first, end):
            if (epoch, index) in seen:
                continue
            rank = (index - first) % world.world_size if group == RANKS else 0
            own = [ack.position[1] for member, ack in valid if ack.position[0] == epoch and member.rank == rank]
            if ended or (group != SPLIT and index < max(own, default=-1)):
                told["lost"].add((epoch, index))
            elif index < highest:
                told["lost" if complete else "open"].add((epoch, index))
    return told


def disorder(world: World, group: int) -> set[Position]:
    """Positions that a member took, first of all in the group, after higher ones."""
    found: set[Position] = set()
    seen: set[Position] = set()
    for member in world.members:
        highest: Position = (-1, -1)
        for ack in member.took:
            if member.group != group or not isinstance(ack, Ack):
                continue
            epoch, index = ack.position
            first = world.base if epoch == 0 and group == RANKS else 0
            if group == RANKS and (index < first or (index - first) % world.world_size != member.rank):
                continue
            if ack.position not in seen and not ack.attempt:
                if ack.position < highest:
                    found.add(ack.position)
                highest = max(highest, ack.position)
            seen.add(ack.position)
    return found


def write(world: World, ledgers: Ledgers, one_file: bool) -> None:
    """Let the members note what they took."""
    for number, member in enumerate(world.members):
        client = ledgers.client(f"{number}", file="shared" if one_file else "")
        others = {"world_size": world.world_size, "rank": member.rank} if member.group == RANKS else {}
        start = (0, world.base if member.group == RANKS else 0)
        client.begin(KIND[member.group], start=start, base=start, **others)
        for one in member.took:
            if isinstance(one, Ack):
                client.take(*one.position, attempt=one.attempt, data=one.data)
            else:
                client.end(one, world.lengths[one])
    ledgers.close()


def positions(findings: Any, label: str, kind: str) -> set[Position]:
    """What was found of a kind in a group."""
    return {
        (one.positions.epoch, index)
        for one in findings
        if one.label == label and one.kind == kind
        for index in range(one.positions.first, one.positions.last + 1, one.positions.step)
    }


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds(), complete=st.booleans(), one_file=st.booleans())
def test_the_verdict_is_that_of_a_naive_model(
    ledgers_in: Callable[[], Ledgers], world: World, complete: bool, one_file: bool
) -> None:
    """Whatever goes wrong, `verify` finds just that, in any number of files."""
    ledgers = ledgers_in()
    write(world, ledgers, one_file)
    report = ledgers.verify(complete=complete)
    assert [group.kind for group in report.groups] == list(KIND)
    broken = False
    for number, group in enumerate(report.groups):
        told = model(world, number, complete)
        told["disordered"] = disorder(world, number)
        for kind in ("lost", "repeated", "stray", "disordered"):
            assert positions(report.violations, group.label, kind) == told[kind], kind
            broken = broken or bool(told[kind])
        assert positions(report.allowed, group.label, "open") == told["open"]
        assert (group.lost, group.open) == (len(told["lost"]), len(told["open"]))
        assert group.acknowledged == len(world.acks(number))
        strays = sum(ack.position in told["stray"] for _, ack in world.acks(number)) if number == RANKS else 0
        if not strays:
            assert group.repeated == group.acknowledged - len({ack.position for _, ack in world.acks(number)})
    data = defaultdict(set)
    for number in range(3):
        for _, ack in world.acks(number):
            data[ack.position].add(ack.data)
    wrong = {position for position, seen in data.items() if len(seen) > 1}
    found = {(one.positions.epoch, one.positions.first) for one in report.violations if one.kind == "wrong"}
    assert found <= wrong
    assert {epoch for epoch, _ in found} == {epoch for epoch, _ in wrong}
    assert sum(group.wrong for group in report.groups) >= len(wrong)
    assert report.kept == (not broken and not wrong)
