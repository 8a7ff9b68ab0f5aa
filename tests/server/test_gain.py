"""When compressing begins and ends, on connections that are made up."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from enqueued.server.gain import Gain

STEP_S = 0.05
MB = 1e6


@dataclass
class Line:
    """A connection and its client, in bytes a second of batches; `ratio` is what compressing makes of them."""

    link: float
    speed: float = 300 * MB
    wanted: float = 1e12
    ratio: float = 2.0
    batch: float = 1 * MB

    def __post_init__(self) -> None:
        self.now = 0.0
        self.gain = Gain(0.0)
        self.acked = self.busy_s = self.unsent = 0.0
        self.samples = 0
        self.delivered = 0.0
        self.on_s = 0.0

    @property
    def plain(self) -> float:
        """What it carries when nothing is compressed."""
        return min(self.wanted, self.link)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self.now < until:
            self.step()

    def step(self) -> None:
        on, ratio = self.gain.on, self.ratio if self.gain.on else 1.0
        rate = min(self.wanted, self.link * ratio, self.speed if on else 1e12)
        self.now += STEP_S
        self.delivered += rate * STEP_S
        self.acked += rate / ratio * STEP_S
        self.busy_s += rate / ratio / self.link * STEP_S
        self.unsent += rate * STEP_S
        self.on_s += on * STEP_S
        many = int(self.unsent / self.batch)
        for part in range(least := min(many, 8)):  # more than that make no difference
            nbytes = self.batch * (many - least + 1 if part == 0 else 1)
            self.gain.sent(int(nbytes), int(nbytes / ratio))
        self.unsent -= many * self.batch
        if self.gain.due(self.now):
            self.gain.judge(self.now, int(self.acked), self.busy_s)
        if self.gain.curious(self.now):
            self.samples += 1
            self.gain.learn(self.now, self.ratio, self.speed)


def test_a_slow_line_is_compressed_for_soon_and_stays_so() -> None:
    """100 Mbit/s and 1 Gbit/s with batches that become half as large."""
    for link in (12.5 * MB, 125 * MB):
        line = Line(link)
        line.run(2)
        assert line.gain.on
        line.run(300)
        assert line.on_s > 290
        assert line.delivered > 1.9 * 290 * link
        assert line.gain.ratio == 2


def test_a_fast_line_is_looked_at_ever_less_often() -> None:
    """Where compressing would be slower than the line: seven samples in two minutes, then one a minute."""
    line = Line(1000 * MB)
    line.run(125)
    assert (line.on_s, line.samples) == (0, 7)
    line.run(640)
    assert line.samples <= 17


def test_what_does_not_become_smaller_is_not_compressed() -> None:
    """Noise, however slow the line is."""
    line = Line(10 * MB, ratio=1.05)
    line.run(60)
    assert line.on_s == 0


def test_a_client_that_is_slower_than_the_line_is_not_compressed_for() -> None:
    """It would gain nothing: not even a sample is taken."""
    line = Line(12.5 * MB, wanted=6 * MB)
    line.run(60)
    assert (line.on_s, line.samples) == (0, 0)


def test_it_ends_when_the_client_becomes_slow_and_begins_again_when_it_is_fast() -> None:
    """And soon, where compressing has paid for long before."""
    line = Line(12.5 * MB)
    line.run(30)
    line.wanted = 8 * MB
    line.run(5)
    assert not line.gain.on
    line.wanted = 1e12
    line.run(5)
    assert line.gain.on


def test_a_line_that_becomes_fast_is_noticed() -> None:
    """Within the minute after which it has to be proved anew: a line that is mostly idle does not tell its speed."""
    line = Line(12.5 * MB)
    line.run(30)
    line.link = 1000 * MB
    line.run(70)
    assert not line.gain.on
    line.link = 12.5 * MB
    line.run(70)
    assert line.gain.on


def test_batches_that_become_noise_are_given_up_at_once() -> None:
    """After three windows."""
    line = Line(12.5 * MB)
    line.run(20)
    line.ratio = 1.0
    line.run(3)
    assert not line.gain.on


def test_a_slow_press_is_found_out() -> None:
    """A sample was fast, but the threads are busy with other things afterwards."""
    line = Line(125 * MB)
    line.run(5)
    assert line.gain.on
    line.speed = 100 * MB
    line.run(5)
    assert not line.gain.on


@settings(deadline=None, max_examples=60)
@given(
    st.floats(1 * MB, 5000 * MB),
    st.floats(20 * MB, 1000 * MB),
    st.floats(1 * MB, 5000 * MB),
    st.floats(1.0, 20.0),
    st.floats(0.01 * MB, 20 * MB),
)
def test_nobody_is_slower_for_it(link: float, speed: float, wanted: float, ratio: float, batch: float) -> None:
    """Whatever the line, the batches and the client are; and where it gains much it is done."""
    line = Line(link, speed, wanted, ratio, batch)
    line.run(120)
    assert line.delivered >= 0.99 * line.plain * 120
    best = min(wanted, speed, ratio * link)
    if best >= 1.2 * line.plain and 8 * batch <= line.plain:
        assert line.on_s > 100
