"""What is remembered of acknowledged batches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enqueued.client.course import Course
from enqueued.client.ranks import Share
from enqueued.client.receipts import Unstable

COURSE = Course(Share("g"))


@given(st.lists(st.one_of(st.none(), st.integers(0, 40), st.just(-1)), max_size=60))
def test_what_is_not_on_disk_is_remembered(events: list[int | None]) -> None:
    """Acknowledgements (None), a daemon's word that so many of this session are stable, and losses of it (-1)."""
    unstable = Unstable()
    unstable.began({}, COURSE, continued=False)
    earlier: list[tuple[int, int]] = []
    session: list[tuple[int, int]] = []
    stable = index = 0
    for event in events:
        if event is None:
            unstable.acknowledged([0, 0, 0, 5, index, 0])
            session.append((5, index))
            index += 1
        elif event == -1:
            earlier, session, stable = [*earlier, *session[stable:]], [], 0
            unstable.began({}, COURSE, continued=True)
        elif stable < event <= len(session):
            earlier, stable = [], event
            unstable.settle(event)
        unstable.settle(stable)
        assert list(unstable.positions) == [*earlier, *session[stable:]]


def test_a_long_silence_is_bounded() -> None:
    """The oldest are forgotten, and what is stable then is still counted from the first."""
    unstable = Unstable()
    for index in range(70_000):
        unstable.acknowledged([0, 0, 0, 0, index, 0])
    assert len(unstable.positions) == 65536
    unstable.settle(69_999)
    assert list(unstable.positions) == [(0, 69_999)]
    unstable.began({}, COURSE, continued=False)
    assert not unstable.positions
