"""Messages and descriptors between two processes of the pool."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.pool.channel import MOST_BYTES, Channel, shorten

Ends = tuple[Channel, Channel]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of a pair."""
    ours, theirs = Channel.pair()
    channels = (ours, Channel(theirs))
    yield channels
    for channel in channels:
        channel.close()


def test_messages_arrive_whole_and_in_order(ends: Ends) -> None:
    """Each is one message, however they are read."""
    for number in range(10):
        ends[0].send({"made": [[number, 2, 3]]})
    assert [ends[1].receive(wait=True) for _ in range(10)] == [{"made": [[n, 2, 3]]} for n in range(10)]


def test_nothing_there_is_told_apart_from_the_end(ends: Ends) -> None:
    """Without waiting, an empty channel raises; a closed one gives None, again and again."""
    with pytest.raises(BlockingIOError):
        ends[1].receive(wait=False)
    ends[0].send({"quit": 1})
    ends[0].close()
    assert ends[1].receive(wait=False) == {"quit": 1}
    assert ends[1].receive(wait=False) is None
    assert ends[1].receive(wait=True) is None


def test_descriptors_travel_with_their_message(ends: Ends) -> None:
    """They are the receiver's own, and are not inherited."""
    fd = os.memfd_create("travelling")
    os.write(fd, b"luggage")
    ends[0].send({"segment": [1, 7]}, (fd, fd))
    os.close(fd)
    assert ends[1].receive(wait=True) == {"segment": [1, 7]}
    fds = ends[1].take_fds()
    assert [os.pread(one, 7, 0) for one in fds] == [b"luggage"] * 2
    assert not any(os.get_inheritable(one) for one in fds)
    assert ends[1].take_fds() == []
    for one in fds:
        os.close(one)


def test_descriptors_that_nobody_takes_are_closed(ends: Ends) -> None:
    """A channel that is closed leaves none behind."""
    before = len(os.listdir("/proc/self/fd"))
    fd = os.memfd_create("forgotten")
    ends[0].send({"fork": {}}, (fd,))
    os.close(fd)
    ends[1].receive(wait=True)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    ends[1].close()
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_a_full_channel_does_not_hold_up_who_only_tries(ends: Ends) -> None:
    """What did not go is not half gone."""
    sent = 0
    while ends[0].try_send({"free": [[sent, 0]] * 100}):
        sent += 1
    assert sent > 10
    assert ends[1].receive(wait=True) == {"free": [[0, 0]] * 100}
    rest = 1
    try:
        while ends[1].receive(wait=False) is not None:
            rest += 1
    except BlockingIOError:
        assert rest == sent


def test_who_sends_to_a_closed_channel_is_told(ends: Ends) -> None:
    """As an `OSError`, by both ways of sending."""
    ends[1].close()
    with pytest.raises(OSError, match="Broken pipe"):
        ends[0].send({"quit": 1})
    with pytest.raises(OSError, match="Broken pipe"):
        ends[0].try_send({"quit": 1})


@given(st.text(max_size=50), st.integers(0, 3000), st.sampled_from(["x", "é", "字", "\U0001f40d", "\udcff"]))
def test_any_text_fits_a_message_when_it_is_shortened(head: str, count: int, letter: str) -> None:
    """Two of them and some more fit one message, whatever they hold; short ones stay as they are."""
    text = head + letter * (count * 20)
    short = shorten(text)
    assert len(msgpack.packb({"message": short, "traceback": short})) < MOST_BYTES - 1000
    if len(text) < 1000 and text.isascii():
        assert short == text
    assert short.startswith(text[:20].encode("utf-8", "backslashreplace").decode()[:20])
