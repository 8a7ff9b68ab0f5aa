"""The protocol does not change unnoticed: its messages kept as hex."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from enqueued.wire.hello import Claim, Hello
from enqueued.wire.messages import FROM_CLIENT, FROM_DAEMON, PROTOCOL, check_item, pack, unpack

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
    "base": [1, 0],
    "origin": None,
    "generation": 2,
    "credit_limit": 4096,
    "reorder_window": 0,
    "hooked": True,
    "fingerprint": {"source": "mymod:MySeq", "seed": 1},
    "file": "/home/me/mymod.py",
    "hash": "0123456789abcdef",
    "loaded_at": 1700000000.5,
}
ITEMS = [
    [0, 1, 2, 3, 4, 0, 65537, 4096, 9_600_000, 1, 9_601_024],
    [0, 2, 2, 3, 5, 1, 65538, 0, 2000, 64, 2048],
    [1, 66, 2, 3, 69, 1, 3, 2048],
    [2, 69, 2, 3, 72, 2, {"message": "m", "traceback": "t", "worker": "worker 1"}],
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
    "ask-canary": ("ASK", "canary", 3),
    "stable": ("STABLE", 500),
    "batches-compressed": ("BATCHES", [[1, 70, 2, 3, 73, 0, 3, 2048, "zstd", 6096]], []),
}
RANK = Claim("ranks", (3, 9), 1, 4, "pad", (3, 8), (3, 8))
BACK = Claim("g", (3, 4), returning=True, generation=2, held=((3, 5),), acked=((3, 4), (3, 2)))
HELLOS = {
    "hello": Hello("train", BACK, None, b"\x00\xff", "host", 7, "0.1.0"),
    "hello-rank": Hello(None, RANK, (3, "0123456789abcdef"), None, "host", 7, "0.1.0"),
    "hello-ahead": Hello(None, Claim(start=(0, 5), taken=((0, 6),)), None, None, "host", 7, "0.1.0"),
    "hello-state": Hello(None, Claim("g", (1, 5), origin=(1, 5), missing=((1, 3),)), None, None, "host", 7, "0.1.0"),
    "hello-codecs": Hello(None, Claim(), None, None, "host", 7, "0.1.0", codecs=("zstd",)),
}


def kept() -> dict[str, bytes]:
    """The messages of the file, by name."""
    lines = (GOLDEN / f"protocol-{PROTOCOL}.txt").read_text().split()
    return {name: bytes.fromhex(text) for name, text in zip(lines[::2], lines[1::2], strict=True)}


def test_every_message_is_kept() -> None:
    """When this fails the protocol has changed: that takes a new number, or a message more, but no other bytes."""
    hellos = {name: hello.pack() for name, hello in HELLOS.items()}
    assert {name: pack(*message) for name, message in MESSAGES.items()} | hellos == kept()


@pytest.mark.parametrize("name", [*MESSAGES, *HELLOS])
def test_kept_messages_are_read_as_they_were_meant(name: str) -> None:
    """Verb and fields."""
    verb, fields = unpack(kept()[name], FROM_CLIENT | FROM_DAEMON)
    if name in HELLOS:
        assert Hello.from_plain(fields[0]) == HELLOS[name]
    else:
        assert (verb, *fields) == MESSAGES[name]
    if name == "batches":
        assert [check_item(item) for item in fields[0]] == ITEMS
