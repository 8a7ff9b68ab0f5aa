"""States that a stream cannot go on from: another source, one that cannot be built again, one that went by."""

from __future__ import annotations

from typing import Any

import pytest

from enqueued.errors import Refused, StateMismatch
from serving import Serving

LENGTH = 13
SOURCE = ("--sequence", "sources.sized:Large", "--arg", "nbytes=100", "--arg", f"length={LENGTH}", "--workers", "2")
SHUFFLED = (*SOURCE, "--shuffle", "--seed", "3")


def numbers(batches: Any) -> list[int]:
    """The number that each batch tells."""
    return [int(number) for _, number in batches]


def test_a_source_that_cannot_be_built_again_is_an_error() -> None:
    """On a new daemon; on the same one nothing has to be built, so it goes on."""
    source = ("--sequence", "sources.reproduced:Drawn", "--arg", "unseeded=true", "--workers", "1")
    with Serving(*source) as daemon:
        with daemon.client() as client:
            before = [float(number) for number in client.steps(4)]
            state = client.state_dict()
            client.load_state_dict(state)
            assert len(list(client)) == 2
        daemon.stop()
        daemon.start()
        with pytest.raises(Refused, match="cannot be reproduced"):
            daemon.client(state=state)
        with daemon.client() as client:
            client.load_state_dict(state, strict=False)
            assert [float(number) for number in client.steps(8)][2:6] != before


def test_another_stream_is_refused_by_name() -> None:
    """And the remedy is named."""
    with Serving(*SHUFFLED) as daemon, daemon.client() as client:
        numbers(client.steps(LENGTH + 5))
        state = client.state_dict()
    with Serving(*SOURCE, "--shuffle", "--seed", "4", "--arg", "nbytes=200") as other:
        told = "seed was 3 and is 4"
        with pytest.raises(StateMismatch, match=r"args\.nbytes was 100 and is 200") as caught:
            other.client(state=state)
        assert told in str(caught.value)
        assert "strict=False" in str(caught.value)
        with other.client() as client:
            client.load_state_dict(state, strict=False)
            assert (client.epoch, len(numbers(client))) == (1, LENGTH - 5)
    with Serving(*SOURCE, "--seed", "3", "--arg", "length=9") as other, other.client() as client:
        client.load_state_dict(state, strict=False)
        assert (client.epoch, numbers(client)) == (1, list(range(9)))


def test_a_stream_that_only_goes_forward_says_so() -> None:
    """A new daemon cannot go where the state is: that is beyond what it makes ahead."""
    with Serving("--generator", "sources.sized:stream", "--arg", "length=50", "--max-queue-size", "4") as daemon:
        with daemon.client() as client:
            numbers(client.steps(40))
            state = client.state_dict()
            assert (state["index"], state["canary"], state["fingerprint"]["length"]) == (40, None, None)
        daemon.stop()
        daemon.start()
        with pytest.raises(Refused, match="only goes forward"):
            daemon.client(state=state)
