"""The protocol does not change unnoticed: its messages kept as hex."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from enqueued.wire.messages import FROM_CLIENT, FROM_DAEMON, PROTOCOL, Hello, check_item, pack, unpack

GOLDEN = Path(__file__).parent / "golden"

WELCOME = {
    "version": "0.1.0",
    "incarnation": "00ff",
    "stream": "train",
    "transport": "slots",
    "kind": "sequence",
    "indexed": True,
    "source": "mymod:MySeq",
    "check": "enqueued check --sequence mymod:MySeq",
    "length": 300,
    "epoch": 1,
    "index": 2,
    "credit_limit": 4096,
}
ITEMS = [
    [0, 1, 2, 3, 4, 0, 65537, 4096, 9_600_000],
    [1, 2, 2, 3, 5, 1],
    [2, 3, 2, 3, 6, 2, {"message": "m", "traceback": "t", "worker": "worker 1"}],
    [3, 2, 3, 300],
    [4, 2],
]
MESSAGES: dict[str, tuple[Any, ...]] = {
    "credit": ("CREDIT", 3),
    "take": ("TAKE", [[0, 3], [7, 1]], [[0, 2]]),
    "seek": ("SEEK", 1, 4, 0),
    "ask": ("ASK", "stats"),
    "bye": ("BYE",),
    "welcome": ("WELCOME", WELCOME),
    "loading": ("LOADING", "mymod:MySeq is being loaded"),
    "refused": ("REFUSED", "no"),
    "batches": ("BATCHES", ITEMS, [65536]),
    "answer": ("ANSWER", "spec", b"\x01\x02"),
    "gone": ("GONE", "goodbye"),
}


def kept() -> dict[str, bytes]:
    """The messages of the file, by name."""
    lines = (GOLDEN / f"protocol-{PROTOCOL}.txt").read_text().split()
    return {name: bytes.fromhex(text) for name, text in zip(lines[::2], lines[1::2], strict=True)}


def test_every_message_is_kept() -> None:
    """When this fails the protocol has changed: that takes a new number, or a message more, but no other bytes."""
    hello = Hello("train", "g", (3, 4), b"\x00\xff", True, "host", 7, "0.1.0").pack()
    assert {**{name: pack(*message) for name, message in MESSAGES.items()}, "hello": hello} == kept()


@pytest.mark.parametrize("name", [*MESSAGES, "hello"])
def test_kept_messages_are_read_as_they_were_meant(name: str) -> None:
    """Verb and fields."""
    verb, fields = unpack(kept()[name], FROM_CLIENT | FROM_DAEMON)
    if name == "hello":
        hello = Hello.from_plain(fields[0])
        assert hello == Hello("train", "g", (3, 4), b"\x00\xff", True, "host", 7, "0.1.0")
    else:
        assert (verb, *fields) == MESSAGES[name]
    if name == "batches":
        assert [check_item(item) for item in fields[0]] == ITEMS
