"""Whether it pays to compress what goes to one client: decided from what was measured, without a clock of its own."""

from __future__ import annotations

_WINDOW_S = 0.5
_WINDOW_MESSAGES = 4
"""A window is judged when it is as long, and has as many messages."""
_BUSY = 0.8
"""A connection that is busy for a smaller part of the time is not what the client waits for."""
_WORTH_TRYING = 1.15
_WORTH_KEEPING = 1.03
"""How much faster than a plain connection it has to be: expected to be, and then proved to be."""
_STRIKES = 3
_FIRST_PAUSE_S = 1.0
_LAST_PAUSE_S = 64.0
_SUCCESS_S = 10.0
"""Whoever compressed for so long may try again soon after."""
_PROVED_S = 64.0


class Gain:
    """Compares the bytes of batches a second that go out with what the connection would carry of plain ones.

    A connection that is busy carries `acked / busy_s` bytes a second, whatever they are. Plain, a client that waits
    for it keeps it busy all the time; then a sample is compressed, and if both the threads that compress and the
    connection with smaller frames would be faster, frames are (`on`). Where batches then do not go out faster than
    plain ones could for a while, because the client is slower, or the threads are, that ends. Then there is a pause
    before the next sample, twice as long as the last one. After a minute it has to be proved anew: when a connection
    is not busy any more nobody sees how fast it has become.
    """

    def __init__(self, now: float) -> None:
        self.on = False
        self.ratio = 1.0
        """Of the last window: bytes of batches by bytes that went out."""
        self._pause_s = _FIRST_PAUSE_S
        self._next = now
        self._since = now
        self._strikes = 0
        self._rate = 0.0
        """Bytes a second that the connection carried when it was what the client waited for; 0 while it is not."""
        self._flow: tuple[int, float] | None = None
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._began = now
        self._messages = self._plain = self._sent = 0

    def sent(self, plain: int, nbytes: int) -> None:
        """A message went out: the bytes of its batches, and how many they were on the way."""
        self._messages += 1
        self._plain += plain
        self._sent += nbytes

    def due(self, now: float) -> bool:
        """Whether a window is full."""
        return self._messages >= _WINDOW_MESSAGES and now - self._began >= _WINDOW_S

    def judge(self, now: float, acked: int, busy_s: float) -> None:
        """A window is over; `acked` and `busy_s` are the connection's totals."""
        before, self._flow = self._flow, (acked, busy_s)
        span_s, self.ratio = now - self._began, self._plain / max(1, self._sent)
        self._begin(now)
        if before is None:
            return
        carried, busy_s = acked - before[0], busy_s - before[1]
        if carried > 0 and busy_s >= _BUSY * span_s:
            self._rate = carried / busy_s
        elif not self.on:
            self._rate = 0.0
        if self.on:
            faster = carried * self.ratio >= _WORTH_KEEPING * self._rate * span_s
            self._strikes = 0 if faster else self._strikes + 1
            if self._strikes >= _STRIKES:
                self._stop(now)
            elif now - self._since >= _PROVED_S:
                self._stop(now)
                self._next = now

    def curious(self, now: float) -> bool:
        """Whether a sample is to be compressed; it is asked for once."""
        if self.on or not self._rate or now < self._next:
            return False
        self._rest(now)
        return True

    def learn(self, now: float, ratio: float, speed: float) -> None:
        """What a sample came to: how much smaller it became, and how many bytes a second all threads would do."""
        if not self.on and self._rate and min(speed, ratio * self._rate) >= _WORTH_TRYING * self._rate:
            self.on, self._since, self._strikes = True, now, 0

    def _stop(self, now: float) -> None:
        self.on, self._rate = False, 0.0
        if now - self._since >= _SUCCESS_S:
            self._pause_s = _FIRST_PAUSE_S
        self._rest(now)

    def _rest(self, now: float) -> None:
        self._next = now + self._pause_s
        self._pause_s = min(_LAST_PAUSE_S, 2 * self._pause_s)
