"""What outlives the daemon: where named groups stand, as plain data, and how it is taken up again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from enqueued.errors import ProtocolError
from enqueued.stream.group import Group
from enqueued.stream.roster import GRACE_S, Roster
from enqueued.stream.stored import Stored
from enqueued.wire.messages import is_name

LEAST_AHEAD = 4096
"""Between two writes a group may deliver so many, or four times what it did in the time before."""


@dataclass(frozen=True)
class Record:
    """Named groups as plain data, and how far each group and member had got: `settle` takes it when it is on disk."""

    plain: dict[str, list[Any]]
    delivered: dict[Group, tuple[int, int]]
    """By group, how many it had delivered, and how many more it may."""
    rested: dict[str, Stored]
    """The groups without members."""
    acked: dict[str, int]
    """By member, how many leases it had acknowledged."""


def record(roster: Roster, *, final: bool = False, least: int = LEAST_AHEAD) -> Record:
    """Where the named groups stand now; `final` when nothing is delivered after that.

    Each group may go on by `least` before the next one is known to be on disk, or by more if it was faster of late.
    """
    stored = {
        name: one if final or one.ranks else replace(one, ahead=max(one.ahead, least))
        for name, one in roster.remembered.items()
    }
    delivered: dict[Group, tuple[int, int]] = {}
    acked: dict[str, int] = {}
    for team in roster.teams.values():
        stored[team.name] = roster.store_team(team)
    if not final and roster.unwritten is None:
        roster.unwritten = least
    for group in roster.groups.values():
        if group.private:
            continue
        ahead = group.suspects
        if not final:
            ahead = max(ahead, least, 4 * (group.delivered - group.written))
            if group.most is None:  # from here on this may be what the file says
                group.most = group.delivered + ahead
            ahead = max(ahead, group.most - group.delivered)
        delivered[group] = (group.delivered, ahead)
        acked.update((member.name, member.acked) for member in group.members.values())
        one = roster.store(group)
        stored[group.name] = replace(one, members=max(one.members, len(group.members)), ahead=ahead)
    return Record({name: one.to_plain() for name, one in stored.items()}, delivered, dict(roster.remembered), acked)


def settle(roster: Roster, written: Record) -> None:
    """A record is on disk: its groups may go on beyond it for a while."""
    for group, (delivered, ahead) in written.delivered.items():
        roster.kept = True
        if roster.groups.get(group.name) is group and group.most is not None:
            group.written, group.most = delivered, max(delivered + ahead, group.most)
            roster.wake(group)
    for name, stored in written.rested.items():
        if roster.remembered.get(name) is stored:
            roster.remembered[name] = replace(stored, room=None)


def unbind(roster: Roster) -> None:
    """Nothing can be written: groups go on all the same, and after a crash less is marked."""
    roster.unwritten, roster.kept, roster.fresh = None, False, False
    for group in roster.groups.values():
        group.most = None
        roster.wake(group)


def restore(roster: Roster, plain: Any) -> None:
    """Take up what a record says, and keep records from now on. Raises `ProtocolError`."""
    roster.kept = True
    if not isinstance(plain, dict) or not all(isinstance(name, str) and is_name(name) for name in plain):
        raise ProtocolError("stored groups are a map by their names")
    until = roster.now + GRACE_S
    roster.remembered.update({name: Stored.from_plain(one, until) for name, one in plain.items()})
