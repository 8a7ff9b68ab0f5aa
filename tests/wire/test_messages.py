"""Messages: what is packed is unpacked, and what anybody sends is a message or a `ProtocolError`."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.errors import ProtocolError
from enqueued.wire import messages
from enqueued.wire.hello import Claim, Hello
from enqueued.wire.messages import (
    FROM_CLIENT,
    FROM_DAEMON,
    MOST_BYTES,
    check_item,
    check_welcome,
    join_runs,
    pack,
    runs,
    unpack,
)

counts = st.integers(0, (1 << 63) - 1)
names = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(), st.text(), st.binary()),
    lambda children: st.one_of(st.lists(children), st.dictionaries(st.text(), children)),
    max_leaves=20,
)
counted = st.integers(0, messages.MOST_COUNTED - 1)
together = st.integers(1, messages.MOST_TOGETHER)
positions = st.tuples(st.integers(0, (1 << 32) - 1), counted)
many = st.lists(positions, max_size=5).map(tuple)
sizes = st.integers(1, 4096)
ranks = sizes.flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size)))
claims = st.builds(
    lambda ranked, **fields: Claim(**fields, **(ranked or {})),
    ranked=st.none() | ranks.map(lambda pair: {"rank": pair[0], "world_size": pair[1], "tail": "pad"}),
    group=names,
    start=st.sampled_from(["first", "live", "stored"]) | positions,
    base=st.none() | positions,
    origin=st.none() | positions,
    taken=many,
    missing=many,
    returning=st.booleans(),
    generation=counted,
    held=many,
    acked=many,
)
hellos = st.builds(
    Hello,
    stream=st.none() | names,
    claim=claims | st.builds(Claim, start=positions, taken=many),
    canary=st.none() | st.tuples(st.integers(0, (1 << 32) - 1), st.text(max_size=64)),
    token=st.none() | st.binary(max_size=64),
    host=st.text(max_size=64),
    pid=counts,
    version=st.text(max_size=64),
    codecs=st.lists(st.text(max_size=8), max_size=16).map(tuple),
)
items = st.one_of(
    st.tuples(st.just(0), *[counts] * 8, together, counts),
    st.tuples(st.just(1), *[counts] * 5, together, counts),
    st.tuples(st.just(2), *[counts] * 5, st.dictionaries(st.text(), plain, max_size=3)),
    st.tuples(st.just(3), *[counts] * 3),
    st.tuples(st.just(4), counts),
).map(list)
BY_VERB: dict[str, Any] = {
    messages.CREDIT: st.tuples(counts),
    messages.TAKE: st.tuples(st.lists(st.lists(counts, min_size=2, max_size=2)), st.just([])),
    messages.SEEK: st.tuples(counts, counts, counts),
    messages.ASK: st.tuples(st.text()),
    messages.BYE: st.just(()),
    messages.WELCOME: st.tuples(st.dictionaries(st.text(), plain, max_size=4)),
    messages.LOADING: st.tuples(st.text()),
    messages.REFUSED: st.tuples(st.text()),
    messages.BATCHES: st.tuples(st.lists(items), st.lists(counts)),
    messages.ANSWER: st.tuples(st.text(), plain),
    messages.GONE: st.tuples(st.text()),
    messages.STABLE: st.tuples(counts),
    messages.HELLO: st.tuples(st.dictionaries(st.text(), plain, max_size=4)),
}


def equal(one: Any, other: Any) -> bool:
    """Equality that takes NaN for itself."""
    return repr(one) == repr(other)


@given(st.data())
def test_a_message_survives_the_way(data: st.DataObject) -> None:
    """Each verb, with any fields that it may have."""
    verb = data.draw(st.sampled_from(sorted(BY_VERB)))
    fields = data.draw(BY_VERB[verb])
    found, unpacked = unpack(pack(verb, *fields), FROM_CLIENT | FROM_DAEMON)
    assert found == verb
    assert equal(unpacked, list(fields))


@given(hellos)
def test_a_hello_survives_the_way(hello: Hello) -> None:
    """Also a start that is a position."""
    verb, (fields,) = unpack(hello.pack(), FROM_CLIENT)
    assert verb == messages.HELLO
    assert Hello.from_plain(fields) == hello


@given(st.lists(st.integers(0, 200)))
def test_runs_name_the_same_numbers(numbers: list[int]) -> None:
    """In the same order."""
    found = runs(join_runs([number, 1] for number in numbers))
    assert [number for first, count in found for number in range(first, first + count)] == numbers


@given(items)
def test_an_item_is_taken_as_it_is(item: list[Any]) -> None:
    """And with further elements, which a later daemon may add."""
    assert check_item(item) is item
    assert check_item([*item, "more"]) == [*item, "more"]


@pytest.mark.parametrize(
    "item",
    [
        None,
        [],
        {},
        b"\x01\x00\x00\x00\x00\x00\x00",
        "text",
        0,
        [0],
        [5, 1],
        [-1, 0],
        [None],
        [[0]],
        [{}],
        [0, 1, 0, 0, 0, 0, 1, 0, 5],
        [0, 1, 0, 0, 0, 0, 1, 0, 5, 1],
        [0, 1, 0, 0, 0, 0, 1, -1, 5, 1, 64],
        [0, 1, 0, 0, 0, 0, 1, 0.0, 5, 1, 64],
        [0, 1, 0, 0, 0, 0, "1", 0, 5, 1, 64],
        [0, 1 << 63, 0, 0, 0, 0, 1, 0, 5, 1, 64],
        [0, 1, 0, 0, 0, 0, 1, 0, 5, 0, 64],
        [0, 1, 0, 0, 0, 0, 1, 0, 5, -1, 64],
        [0, 1, 0, 0, 0, 0, 1, 0, 5, 65, 64],
        [0, 1, 0, 0, 0, 0, 1, 0, 5, 1 << 62, 64],
        [0, 1, 0, 0, 0, 0, 1, 0, 5, 1, -64],
        [0, 1, 0, 0, 0, 0, 1, 0, 5, None, 64],
        [1, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 1],
        [1, 0, 0, 0, 0, 0, 0, 64],
        [1, 0, 0, 0, 0, 0, 65, 64],
        [1, 0, 0, 0, 0, 0, "1", 64],
        [1, 0, 0, 0, 0, 0, 1, -1],
        [2, 0, 0, 0, 0, 0],
        [2, 0, 0, 0, 0, 0, []],
        [3, 0, 0],
        [4],
        [4, None],
    ],
)
def test_what_is_no_item_is_refused(item: Any) -> None:
    """Too short, not counts, of an unknown kind."""
    with pytest.raises(ProtocolError, match="not an item"):
        check_item(item)


@pytest.mark.parametrize(
    "change",
    [
        {"stream": None},
        {"epoch": -1},
        {"index": "0"},
        {"length": 2.5},
        {"credit_limit": None},
        {"indexed": 1},
        {"kind": []},
        {"check": 5},
    ],
)
def test_a_welcome_is_checked(change: dict[str, Any]) -> None:
    """All that a client relies on."""
    good = {"stream": "a", "kind": "sequence", "source": "m:S", "epoch": 0, "index": 0, "other": object}
    assert check_welcome(good)["length"] is None
    with pytest.raises(ProtocolError, match=f"the {next(iter(change))} "):
        check_welcome({**good, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": 2},
        {"protocol": None},
        {"stream": "a b"},
        {"group": ""},
        {"group": "x" * 65},
        {"start": "last"},
        {"start": [1]},
        {"start": [1, -1]},
        {"start": [1 << 32, 0]},
        {"token": "text"},
        {"group": "a\n"},
        {"stream": 5},
        {"rank": 2, "world_size": 2, "group": "g"},
        {"rank": 0, "world_size": 2},
        {"world_size": 0},
        {"tail": "cut"},
        {"base": [1]},
        {"origin": "first"},
        {"taken": [[0, 1], [0]]},
        {"missing": 5},
        {"held": [[0, -1]]},
        {"acked": [[0, 1]] * 65537},
        {"canary": ["x", 1]},
        {"canary": [-1, "x"]},
    ],
)
def test_a_hello_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    """With a text that says what is wrong."""
    with pytest.raises(ProtocolError, match=next(iter(change))):
        Hello.from_plain({"protocol": 1, **change})


def test_a_newer_hello_is_understood() -> None:
    """Keys that are not known are ignored, and what is for display only is never an error."""
    hello = Hello.from_plain({"protocol": 1, "color": "red", "pid": -1, "host": ["x"], "version": "v" * 100})
    assert hello == Hello(version="v" * 64)


def test_a_message_that_is_too_large_is_refused() -> None:
    """Before it is read."""
    with pytest.raises(ProtocolError, match="most"):
        unpack(bytes(MOST_BYTES + 1), FROM_CLIENT)
    with pytest.raises(ProtocolError, match="runs"):
        runs([[0, 1]] * 5000)


DEEP = [b"\x92\xa6CREDIT" + b"\x91" * depth + b"\x00" for depth in (10, 500, 1000, 1020, 5000)]


@pytest.mark.parametrize("data", DEEP)
def test_deep_nesting_is_no_trouble(data: bytes) -> None:
    """Deeper than `repr` goes, which the error's text must bear."""
    with pytest.raises(ProtocolError):
        unpack(data, FROM_CLIENT)


def receive(data: bytes) -> bool:
    """All that either side does with what it has received; whether it was a message."""
    good = False
    for verbs in (FROM_CLIENT, FROM_DAEMON):
        try:
            verb, fields = unpack(data, verbs)
            good = True
            if verb == messages.HELLO:
                Hello.from_plain(fields[0])
            elif verb == messages.WELCOME:
                check_welcome(fields[0])
            elif verb == messages.TAKE:
                for one in fields[:2]:
                    runs(one)
            elif verb == messages.BATCHES:
                for item in fields[0]:
                    check_item(item)
        except ProtocolError:
            continue
    return good


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    """And nothing else."""
    receive(data)


@given(st.sampled_from(sorted(BY_VERB)), plain)
def test_any_fields_are_fine_or_a_protocol_error(verb: str, fields: Any) -> None:
    """Well-formed msgpack with a verb, and anything behind it."""
    receive(msgpack.packb([verb, fields]))
    receive(msgpack.packb([verb, *fields] if isinstance(fields, list) else [verb, [fields], [fields]]))


def examples() -> list[bytes]:
    """One message of each kind, to be spoilt."""
    hello = Hello(
        "train", Claim("g", (3, 4), returning=True, held=((3, 5),)), (3, "ab"), b"t" * 16, "host", 7, "0.1"
    ).pack()
    welcome = {"stream": "a", "kind": "sequence", "source": "m:S", "epoch": 0, "index": 0, "length": 5}
    batches = [
        [0, 1, 0, 0, 0, 0, 7, 0, 500, 3, 512],
        [1, 4, 0, 0, 3, 0, 2, 512],
        [2, 6, 0, 0, 5, 1, {"message": "m"}],
        [3, 0, 0, 9],
        [4, 0],
    ]
    return [
        hello,
        pack("WELCOME", welcome),
        pack("BATCHES", batches, [5, 6]),
        pack("TAKE", [[0, 5], [9, 1]], [[3, 2]]),
        pack("SEEK", 1, 2, 3),
        pack("CREDIT", 3),
        pack("ASK", "stats"),
        pack("ANSWER", "spec", b"x" * 20),
    ]


def spoil(seed: int, rounds: int) -> int:
    """Mutate messages at random; how many of the results were messages still."""
    chance = random.Random(seed)
    kept, good = examples(), 0
    for _ in range(rounds):
        data = bytearray(chance.choice(kept))
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(data) + 1)
            how = chance.randrange(4)
            if how == 0 and place < len(data):
                data[place] = chance.choice((chance.randrange(256), 0xC1, 0xDD, 0xCF, 0x91, 0xC7, 0xD3))
            elif how == 1:
                del data[place : place + chance.randint(1, 8)]
            elif how == 2:
                data[place:place] = chance.randbytes(chance.randint(1, 8))
            else:
                data[place:place] = data[: chance.randint(0, 20)]
        good += receive(bytes(data))
    return good


def test_spoilt_messages_are_protocol_errors() -> None:
    """Some are messages still, and all others are told apart."""
    assert 0 < spoil(1, 5000) < 5000


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_million_spoilt_messages_are_protocol_errors() -> None:
    """As above, for long."""
    assert spoil(2, 1_000_000) > 0
