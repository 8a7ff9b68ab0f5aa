"""What outlives the daemon: where named groups stand, as plain data, and how it is taken up again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from enqueued.errors import ProtocolError
from enqueued.stream.roster import GRACE_S, Roster
from enqueued.stream.stored import Stored
from enqueued.wire.messages import is_name

_LEAST_AHEAD = 4096
"""Between two writes a group may deliver so many, or four times what it did in the time before."""


@dataclass(frozen=True)
class Record:
    """Named groups as plain data, and how far each group and member had got: `settle` takes it when it is on disk."""

    plain: dict[str, list[Any]]
    delivered: dict[str, tuple[int, int]]
    """By group, how many it had delivered, and how many more it may."""
    acked: dict[str, int]
    """By member, how many leases it had acknowledged."""


def record(roster: Roster) -> Record:
    """Where the named groups stand now."""
    stored = dict(roster.remembered)
    delivered: dict[str, tuple[int, int]] = {}
    acked: dict[str, int] = {}
    for team in roster.teams.values():
        stored[team.name] = roster.store_team(team)
    for group in roster.groups.values():
        if group.private:
            continue
        ahead = max(_LEAST_AHEAD, 4 * (group.delivered - group.written), group.suspects)
        if group.most is None:  # from here on this may be what the file says
            group.most = group.delivered + ahead
        ahead = max(ahead, group.most - group.delivered)
        delivered[group.name] = (group.delivered, ahead)
        acked.update((member.name, member.acked) for member in group.members.values())
        stored[group.name] = replace(roster.store(group), members=len(group.members), ahead=ahead)
    return Record({name: one.to_plain() for name, one in stored.items()}, delivered, acked)


def settle(roster: Roster, written: Record) -> None:
    """A record is on disk: its groups may go on beyond it for a while."""
    for name, (delivered, ahead) in written.delivered.items():
        group = roster.groups.get(name)
        if group is not None:
            group.written, group.most = delivered, max(delivered + ahead, group.most or 0)
            roster.wake(group)


def unbind(roster: Roster) -> None:
    """Nothing can be written: groups go on all the same, and after a crash less is marked."""
    for group in roster.groups.values():
        group.most = None
        roster.wake(group)


def restore(roster: Roster, plain: Any) -> None:
    """Take up what a record says. Raises `ProtocolError`."""
    if not isinstance(plain, dict) or not all(isinstance(name, str) and is_name(name) for name in plain):
        raise ProtocolError("stored groups are a map by their names")
    until = roster.now + GRACE_S
    roster.remembered.update({name: Stored.from_plain(one, until) for name, one in plain.items()})
