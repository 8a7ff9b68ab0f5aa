"""Bytes from a hostile peer give a batch or a `ProtocolError`, and nothing outside the root is read."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.array_utils import byte_bounds

from enqueued.codec import decode as decoder
from enqueued.codec.decode import decode
from enqueued.codec.spec import describe, spec
from enqueued.errors import ProtocolError

Root = np.ndarray[Any, Any]
Encode = Callable[[Any], Root]

JUNK: list[Any] = [
    *(
        None,
        True,
        False,
        -1,
        0,
        1,
        63,
        64,
        2**31,
        2**32,
        2**40 - 1,
        2**40,
        2**62,
        2**63 - 1,
        2**64 - 1,
        0.5,
        float("nan"),
    ),
    *("", "a", "t", "l", "d", "n", "c", "s", "v", "i", "z", "T", "u", "b", "class", "__class__", "x" * 300, "é", "\n"),
    *(
        "<f4",
        "|O",
        "O",
        "object",
        "T",
        "|T16",
        "<f8",
        "|S0",
        "|S9999999999",
        "|V10",
        "<U536870912",
        "<M8[ns]",
        "<M8[x]",
    ),
    *(
        "|b1",
        "<i8, <f4",
        "(2,)f4",
        "f4",
        "=f4",
        ">M8[9999999999s]",
        "bfloat16",
        "int4",
        "complex32",
        "<f16",
        "StringDType",
    ),
    *(b"", b"\xff", [], [0], [2**39, 2**39], [0, 2**39, 2**39], [-1], [1] * 33, ["a"], [["a"], ["<f4"], [0], 4]),
    *(
        [["a"], ["|O"], [0], 8],
        [["a", "a"], ["<f4", "<f4"], [0, 4], 8],
        [["a"], ["<f4"], [1], 4],
        [[], [], [], 2**31 - 1],
    ),
    *([["a"], [["<f4", [2**30]]], [0], 4], [["a"], [["<f4", [0, 2**39]]], [0], 4], [[""], ["<f4"], [0], 4], ["v", 1]),
    *(
        ["a", "<f8", [1], 0],
        ["a", "|S0", [2**39, 2**39], 0],
        ["T", [1], 0, 8, False, True],
        ["i", "9" * 5000],
        ["i", "1_0"],
    ),
    *(
        ["n", "A", ["x", "x"], [["v", 1], ["v", 1]]],
        ["c", "A", ["__class__"], [["v", 1]]],
        ["c", "A()", ["x"], [["v", 1]]],
    ),
    *(
        ["n", "A", ["x y"], [["v", 1]]],
        ["c", "A", ["x:0=print(1)"], [["v", 1]]],
        ["d", [[[], ["v", 1]]]],
        msgpack.ExtType(5, b""),
    ),
    *(
        {"a": 1},
        ["d", [["a", ["v", 1]], ["a", ["v", 2]]]],
        ["u", 0, 8],
        ["b", 0, 2**40],
        ["s", "<U1", 0],
        ["s", "|V0", 0],
    ),
]


def attempt(root: Root) -> bool:
    """Decodes and describes; checks that all that comes lies in the root; says whether anything came."""
    try:
        batch = decode(root)
    except ProtocolError:
        return False
    low = root.ctypes.data
    pending = [batch]
    while pending:
        node = pending.pop()
        if isinstance(node, np.ndarray):
            if node.dtype.kind == "T":
                continue
            assert not node.dtype.hasobject
            if node.size:
                first, last = byte_bounds(node)
                assert low <= first <= last <= low + root.size
                assert sum(node.tobytes()) >= 0
        elif isinstance(node, (list, tuple)):
            pending.extend(node)
        elif isinstance(node, dict):
            pending.extend(node.values())
        elif hasattr(node, "__dataclass_fields__"):
            pending.extend(vars(node).values())
    spec(describe(root))
    return True


def with_header(header: Any, body: bytes) -> Root:
    """A root that begins with any header, said in proper form."""
    packed = msgpack.packb(header)
    start = -(-(8 + len(packed)) // 64) * 64
    return np.frombuffer((struct.pack("<II", len(packed), 1) + packed).ljust(start, b"\0") + body, np.uint8)


def header_of(root: Root) -> Any:
    """The header that a root begins with."""
    data = root.tobytes()
    return msgpack.unpackb(data[8 : 8 + int.from_bytes(data[:4], "little")], unicode_errors="surrogatepass")


def damage(data: bytearray, chance: random.Random) -> bytes:
    """Flips, cuts, repeats, splices or overwrites parts of valid bytes."""
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        at = chance.randrange(min(len(data), chance.choice([16, 100, 1000])) or 1)
        match chance.randrange(6):
            case 0 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 1 if data:
                data[at % len(data)] = chance.choice([0, 1, 0x7F, 0x80, 0x90, 0xC1, 0xD9, 0xDC, 0xDD, 0xDF, 0xFF])
            case 2:
                del data[at:]
            case 3:
                del data[at : at + chance.randrange(9)]
            case 4:
                data[at:at] = data[at : at + chance.randrange(40)]
            case _:
                data[at : at + 8] = chance.randbytes(chance.randrange(9))
    return bytes(data)


def replaced(node: Any, chance: random.Random) -> Any:
    """The same tree with one of its places taken by junk or by another part of it."""
    if not isinstance(node, list) or not node or chance.random() < 0.1:
        return chance.choice(JUNK)
    # tags come first and end most stories: they are changed less
    at = chance.randrange(len(node)) or chance.randrange(len(node)) or chance.randrange(len(node))
    change = chance.randrange(12)
    if change == 0:
        return [*node[:at], *node[at + 1 :]]
    if change == 1:
        return [*node, chance.choice([*node, *JUNK])]
    return [*node[:at], replaced(node[at], chance), *node[at + 1 :]]


@pytest.fixture(scope="session")
def valid(encoded: Encode, dtypes: list[Any]) -> list[Root]:
    """Proper batches to begin from."""
    texts = np.array(["a", "bcd"], dtype=np.dtypes.StringDType(na_object=None))
    pair = __import__("collections").namedtuple("Pair", ["x", "y"])
    record = __import__("dataclasses").make_dataclass("Record", ["image", "label"])
    return [
        encoded((np.zeros((4, 3), "f4"), np.zeros(1, "i8"))),
        encoded({"x": [np.zeros(3), 1, None, "s", b"b", 1.5, 2j, 2**70], 3: np.float32(1)}),
        encoded([pair(texts, np.zeros((0, 3))), record(np.str_("a"), "long" * 100)]),
        encoded([np.zeros(3, dtype) for dtype in dtypes]),
        encoded(1),
    ]


def fuzz(valid: list[Root], chance: random.Random, cases: int) -> int:
    """Runs damaged encodings through the decoder; says how many still were batches."""
    came = 0
    for _ in range(cases):
        one = chance.choice(valid)
        if chance.random() < 0.5:
            data = damage(bytearray(one.tobytes()), chance)
            came += attempt(np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8))
            continue
        structure, size = header_of(one)
        for _ in range(chance.choice([1, 1, 2])):
            structure = replaced(structure, chance)
        header = [structure, size] if chance.random() < 0.9 else replaced([structure, size], chance)
        came += attempt(with_header(header, one.tobytes()[64 : chance.choice([64, 100, 10**6])]))
    return came


@pytest.mark.parametrize("seed", range(4))
def test_damaged_batches_are_refused_or_harmless(seed: int, valid: list[Root]) -> None:
    """Thousands of batches with flipped, cut, spliced bytes and with lying headers."""
    assert fuzz(valid, random.Random(seed), 1500) > 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_million_damaged_batches_are_refused_or_harmless(valid: list[Root]) -> None:
    """As above, 10**6 cases from a seed that is printed when it fails."""
    seed = int(os.environ.get("FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
    try:
        assert fuzz(valid, random.Random(seed), 1_000_000) > 0
    except BaseException as error:
        error.add_note(f"FUZZ_SEED={seed}")
        raise


@settings(max_examples=1000, deadline=None)
@given(data=st.binary(max_size=400), whole=st.booleans())
def test_random_bytes_are_refused_or_harmless(data: bytes, whole: bool) -> None:
    """Random bytes, alone or as the header of a batch that is otherwise proper."""
    if whole:
        data = struct.pack("<II", len(data), 1) + data + bytes(128)
    attempt(np.frombuffer(data or b"\0", np.uint8))


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:30])
def test_junk_at_each_place_of_a_header_is_refused_or_harmless(junk: Any, valid: list[Root]) -> None:
    """Each junk value takes each place of each header once."""

    def put(node: Any) -> Any:
        yield junk
        if isinstance(node, list):
            for at, child in enumerate(node):
                for other in put(child):
                    yield [*node[:at], other, *node[at + 1 :]]

    for one in valid:
        for header in put(header_of(one)):
            attempt(with_header(header, one.tobytes()[128:]))


BODY = bytes(256)
LIES: list[tuple[Any, str]] = [
    (["a", "|O", [1], 0], "'|O' is not one that travels"),
    (["a", "O", [1], 0], "is not one that travels"),
    (["a", "|T16", [1], 0], "is not one that travels"),
    (["a", [["a"], ["|O"], [0], 8], [1], 0], "is not one that travels"),
    (["a", "<f8", [2**30, 2**31], 0], "lies outside the body"),
    (["a", "<f8", [33], 0], "lies outside the body"),
    (["a", "<f8", [32], 64], "lies outside the body"),
    (["a", "<f8", [1], -64], "lies outside the body"),
    (["a", "<f8", [1], 8], "lies outside the body"),
    (["a", "<f8", [1], 0.0], "lies outside the body"),
    (["a", "<f8", [True], 0], "not a whole number in bounds"),
    (["a", "<f8", [-1, -1], 0], "not a whole number in bounds"),
    (["a", "<f8", [2**40, 0], 0], "not a whole number in bounds"),
    (["a", "<f8", [1] * 33, 0], "at most 32 dimensions"),
    (["a", "|S0", [2**39, 2**39], 0], "more items than can be counted"),
    (["a", "<f8", [1]], "has 3 items, not 4"),
    (["a", [["a"], ["<f8"], [1], 8], [1], 0], "lies outside its 8 bytes"),
    (["x", 1], "which is not known"),
    (["v", [1]], "plain value is not"),
    (["v", {"a": 1}], "not what msgpack reads"),
    (["v", msgpack.Timestamp(1)], "not what msgpack reads"),
    (["z", 1, 2], "two floats"),
    (["i", "0x10"], "not written in digits"),
    (["i", "٣"], "not written in digits"),
    (["s", "<U1", 0], "scalar of letters"),
    (["u", 0, 257], "lies outside the body"),
    (["b", 0, -1], "improper size"),
    (["T", [40], 0, 256, False, True], "does not fit into its 256 bytes"),
    (["T", [1], 0, 256, False, True], "does not fill its room"),
    (["T", [1], 0, 256, 5, True], "missing value that does not travel"),
    (["d", [["a", ["v", 1]], ["a", ["v", 1]]]], "key twice"),
    (["d", [[0.5, ["v", 1]]]], "a key that is not"),
    (["n", "A", ["x", "x"], [["v", 1], ["v", 1]]], "occurs twice"),
    (["n", "A", ["_x"], [["v", 1]]], "not a public identifier"),
    (["n", "import", [], []], "not an identifier"),
    (["c", "A", ["__init__"], [["v", 1]]], "not a public identifier"),
    (["c", "A", ["x=print('owned')"], [["v", 1]]], "not a public identifier"),
    (["c", "A", ["x"], []], "1 fields and 0 values"),
]


@pytest.mark.parametrize(("node", "message"), LIES, ids=lambda case: case if isinstance(case, str) else "")
def test_a_lie_in_a_header_is_named(node: Any, message: str) -> None:
    """What a hostile peer may try is refused for the reason that it should be, each time it comes."""
    for _ in range(2):
        with pytest.raises(ProtocolError, match=message.replace("|", r"\|")):
            decode(with_header([node, 256], BODY))


def test_a_body_larger_than_the_root_is_refused() -> None:
    """A batch that is cut off is refused, also after a whole one with the same header was decoded."""
    whole = with_header([["a", "<f8", [32], 0], 256], BODY)
    assert decode(whole).size == 32
    for size in (0, 7, 8, 20, 63, 64, whole.size - 1):
        with pytest.raises(ProtocolError):
            decode(whole[:size])
    assert decode(whole).size == 32


def test_strings_that_lie_about_their_lengths_are_refused() -> None:
    """Lengths that are negative, too long, or not UTF-8 never reach beyond the region."""
    for lengths in ([-1, 16], [-5, 21], [2**62, 2**62], [17, 0], [8, 7], [2**63 - 1, 1]):
        packed = struct.pack("<2q", *lengths) + b"x" * 16
        with pytest.raises(ProtocolError, match="array of strings"):
            decode(with_header([["T", [2], 0, 32, False, True], 32], packed))
    with pytest.raises(ProtocolError, match="not UTF-8"):
        decode(with_header([["T", [1], 0, 9, False, True], 9], struct.pack("<q", 1) + b"\xff"))


def test_nesting_is_bounded() -> None:
    """Deep structures and deep dtypes are refused before they reach Python's own limit."""
    node: Any = ["v", 1]
    dtype: Any = "<f4"
    for _ in range(200):
        node = ["l", [node]]
        dtype = [["a"], [dtype], [0], 4]
    for header in (node, ["a", dtype, [1], 0]):
        with pytest.raises(ProtocolError, match="nested deeper"):
            decode(with_header([header, 4], bytes(4)))
    data = struct.pack("<II", 60_000, 1) + b"\x91" * 60_000
    with pytest.raises(ProtocolError, match="not what msgpack reads"):
        decode(np.frombuffer(data + bytes(64), np.uint8))


def test_another_version_is_named() -> None:
    """A peer from another time is told both versions."""
    with pytest.raises(ProtocolError, match="format 2, and this side reads format 1"):
        decode(np.frombuffer(struct.pack("<II", 10, 2) + bytes(100), np.uint8))


def test_what_is_remembered_is_bounded(encoded: Encode) -> None:
    """Endlessly new headers do not fill the decoder's memory."""
    for number in range(5000):
        decode(with_header([["v", "x" * 100 + str(number)], 0], b""))
    assert sum(map(len, decoder._plans)) <= 256 * 1024
