"""The right to be busy: how the streams of a daemon share its lanes.

Each source has processes of its own, for a crash, an epoch or a module of one must never touch another; an idle process
costs no more than its forked image. What is shared is how many makes run at a time: as many as the largest `workers` of
all streams, over all of them. One stream that wants work alone may use every lane; k of them have a k-th of the lanes
each, in whole lanes, and what is left over goes to whom a client waits for, then to whoever has had least. Lanes
are not taken away: a stream that has less than its part gets the next that come free.

Sources that only go forward have a seat for each replica, are asked in turn, and stay outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

_TURN_S = 0.02
"""For so long the order among streams stays as it is, because a lane that changes hands is idle for a moment."""


class Share:
    """One stream's part: at most `most` lanes."""

    def __init__(self, shares: Shares, most: int, wake: Callable[[], None]) -> None:
        self.most = most
        self.wake = wake
        """Has what waits handed out, because a lane has come free."""
        self.busy = 0
        """How many lanes make a batch, or have orders for one."""
        self.waiting = 0
        """How many orders wait for nothing but a lane."""
        self.awaited = False
        """Whether a client waits for a batch of this stream."""
        self.served_s = 0.0
        """Lanes times seconds that it has had; for a stream that wants none, as if it had not stood back."""
        self._shares = shares
        self._freed = 0
        self._lanes: dict[int, int] = {}
        self._counted = 0.0

    @property
    def wanted(self) -> int:
        """How many lanes it could use now; one that came free it may want again, until it has said that it does not."""
        return min(self.most, self.busy + max(self.waiting, self._freed))

    @property
    def allowed(self) -> int:
        """How many lanes it may use now; fewer than `busy` when others want theirs back."""
        return self.most if self._shares.single else self._shares.allowed(self)

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._shares.tick(now)

    def wait(self, orders: int) -> None:
        """Say how many orders wait for nothing but a lane, when all have been handed out that can be."""
        self.waiting, self._freed = orders, 0

    def leave(self) -> None:
        """It wants nothing any more."""
        self._shares.leave(self)

    def pass_on(self) -> None:
        """Let others have what this stream has left, after it has said what waits."""
        if not self._shares.single:
            self._shares.wake(self)

    def count(self, now: float) -> None:
        """See how much it has had until now."""
        self.served_s += self.busy * (now - self._counted)
        self._counted = now

    def note(self, worker: int, lanes: int, now: float) -> None:
        """Say how many lanes of a worker are busy from now on."""
        more = lanes - self._lanes.get(worker, 0)
        if more:
            self.count(now)
            self.busy += more
            self._freed -= min(0, more)
            self._lanes[worker] = lanes
        if not lanes:
            self._lanes.pop(worker, None)


class Shares:
    """The lanes of a daemon, and the streams that share them."""

    def __init__(self) -> None:
        self._all: list[Share] = []
        self._ticked = 0.0

    def join(self, most: int, wake: Callable[[], None]) -> Share:
        """The part of a stream that has `most` workers; `wake` is called when a lane comes free for which it waits."""
        share = Share(self, most, wake)
        self._all.append(share)
        return share

    def leave(self, share: Share) -> None:
        """A stream has ended, or the source of one that was loaded again; again is harmless."""
        self._all = [one for one in self._all if one is not share]

    @property
    def single(self) -> bool:
        """Whether there is one stream at most, which need not ask."""
        return len(self._all) < 2

    @property
    def lanes(self) -> int:
        """How many makes may run at a time."""
        return max((share.most for share in self._all), default=0)

    def tick(self, now: float) -> None:
        """Time has passed: see who has had what, and whose turn is next."""
        if self.single or now - self._ticked < _TURN_S:
            return
        self._ticked = now
        for share in self._all:
            share.count(now)
        behind = min((share.served_s for share in self._all if share.wanted), default=0.0)
        for share in self._all:
            if not share.wanted:
                share.served_s = max(share.served_s, behind)
        self._all.sort(key=lambda share: share.served_s)

    def wake(self, leaving: Share) -> None:
        """Wake those who wait, and may have a lane now that one has said what it leaves."""
        for share in self._all:
            if share is not leaving and share.waiting and share.allowed > share.busy:
                share.wake()

    def allowed(self, share: Share) -> int:
        """How many lanes a stream may use now: its fair part, as far as it has them or they are free.

        A lane that is free is first for those who come before it in line and have less than their part.
        """
        if not any(one is not share and one.wanted for one in self._all):
            return share.most
        line = [one for one in self._all if one is share or one.wanted]
        wants = [one.most if one is share else one.wanted for one in line]
        given = allot(self.lanes, wants, [one.awaited for one in line])
        place = line.index(share)
        free = self.lanes - sum(one.busy for one in line)
        free -= sum(max(0, part - one.busy) for one, part in zip(line[:place], given, strict=False))
        return min(given[place], share.busy + max(0, free))


def allot(lanes: int, wants: Sequence[int], awaited: Sequence[bool] = ()) -> list[int]:
    """Divide lanes evenly among those who want them; nobody is given more than it wants.

    The first in line come first where there is not one lane for each; where some are left over after all have as many,
    those that are `awaited` come before others.
    """
    given = [0] * len(wants)
    line = [n for n, want in enumerate(wants) if want]
    while line and lanes >= len(line):
        each = lanes // len(line)
        for n in line:
            more = min(each, wants[n] - given[n])
            given[n] += more
            lanes -= more
        line = [n for n in line if given[n] < wants[n]]
    if line and awaited and given[line[0]]:
        line.sort(key=lambda n: not awaited[n])
    for n in line[:lanes]:
        given[n] += 1
    return given
