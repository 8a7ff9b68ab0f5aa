"""The message of a QueueRunner, byte for byte as TensorFlow's."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from enqueued.enqueuer.definition import QueueRunnerDef
from enqueued.errors import ProtocolError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
CODES = st.integers(-(2**31), 2**31 - 1)
DEFINITIONS = st.builds(
    QueueRunnerDef, TEXTS, st.lists(TEXTS, max_size=5), TEXTS, TEXTS, st.lists(st.one_of(st.integers(0, 16), CODES))
)

# written by google.protobuf 7.36 from TensorFlow's queue_runner.proto
GOLDEN = (
    b"\n\x0efilename_queue\x12\x07enqueue\x12\x00\x12\nenqueue_\xc3\xa9\x1a\x14filename_queue_Close"
    b'"\x16filename_queue_Close_1*\x0e\x0b\x01\xac\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01'
)
FULL = QueueRunnerDef(
    queue_name="filename_queue",
    enqueue_op_name=["enqueue", "", "enqueue_é"],
    close_op_name="filename_queue_Close",
    cancel_op_name="filename_queue_Close_1",
    queue_closed_exception_types=[11, 1, 300, -1],
)


class Reader:
    """A second decoder, written in another way: it eats bytes from the front."""

    def __init__(self, data: bytes) -> None:
        self.rest = list(data)

    def eat(self, count: int) -> bytes:
        eaten, self.rest = self.rest[:count], self.rest[count:]
        if len(eaten) < count:
            raise EOFError
        return bytes(eaten)

    def number(self) -> int:
        digits: list[int] = []
        while not digits or digits[-1] & 128:
            digits += self.eat(1)
            if len(digits) > 10:
                raise OverflowError
        return sum((digit & 127) << 7 * place for place, digit in enumerate(digits)) % 2**64

    def fields(self, until: int | None = None, depth: int = 0) -> Any:
        if depth > 100:
            raise RecursionError
        while self.rest:
            tag = self.number()
            field, kind = divmod(tag, 8)
            if not 0 < field < 2**29:
                raise ValueError(field)
            if kind == 4:
                if field != until:
                    raise ValueError(field)
                return
            if kind == 0:
                yield field, self.number()
            elif kind == 2:
                yield field, self.eat(self.number())
            elif kind in (1, 5):
                self.eat(8 if kind == 1 else 4)
            elif kind == 3:
                list(self.fields(field, depth + 1))
            else:
                raise ValueError(kind)
        if until is not None:
            raise EOFError

    def definition(self) -> QueueRunnerDef:
        read = QueueRunnerDef()
        for field, value in self.fields():
            match field, value:
                case 1, bytes():
                    read.queue_name = value.decode()
                case 2, bytes():
                    read.enqueue_op_name.append(value.decode())
                case 3, bytes():
                    read.close_op_name = value.decode()
                case 4, bytes():
                    read.cancel_op_name = value.decode()
                case 5, int():
                    read.queue_closed_exception_types.append(signed(value))
                case 5, bytes():
                    packed = Reader(value)
                    while packed.rest:
                        read.queue_closed_exception_types.append(signed(packed.number()))
        return read


def signed(value: int) -> int:
    """The lower 32 bits as C reads them."""
    (found,) = struct.unpack("<i", struct.pack("<Q", value)[:4])
    return int(found)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message in which some bytes are others, fewer or more."""
    data = bytearray(draw(DEFINITIONS).SerializeToString())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kinds = [0, 1, 2, 8, 10, 11, 12, 13, 18, 26, 34, 40, 42, 43, 44, 45, 127, 128, 255]
        data[at : at + draw(st.integers(0, 2))] = bytes(draw(st.lists(st.sampled_from(kinds), max_size=3)))
    return bytes(data)


def test_the_bytes_are_those_of_protobuf() -> None:
    """Both ways, with an unknown code and a negative one."""
    assert FULL.SerializeToString() == GOLDEN
    assert QueueRunnerDef.FromString(GOLDEN) == FULL
    assert QueueRunnerDef().SerializeToString() == b""


@given(DEFINITIONS)
def test_what_is_written_is_read(definition: QueueRunnerDef) -> None:
    """By this decoder and by the other one."""
    data = definition.SerializeToString()
    assert QueueRunnerDef.FromString(data) == definition == Reader(data).definition()


@given(st.one_of(damaged(), st.binary(max_size=40)))
@example(b"\x0b" * 100 + b"\x0c" * 100)
@example(b"\x0b" * 101 + b"\x0c" * 101)
@example(b"\x0b" * 100_000)
@example(b"\x08" + b"\xff" * 9 + b"\x7f")
@example(b"\x08" + b"\xff" * 10 + b"\x01")
@example(b"\x80\x80\x80\x80\x80\x80\x01")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Whatever comes, both decoders agree, and a refusal is an error of the tree that says what was read."""
    try:
        expected = Reader(data).definition()
    except (EOFError, ValueError, OverflowError, RecursionError):
        with pytest.raises(ProtocolError, match=f"^these {len(data)} bytes are no QueueRunnerDef: "):
            QueueRunnerDef.FromString(data)
    else:
        assert QueueRunnerDef.FromString(data) == expected


@given(DEFINITIONS, st.integers(6, 2**29 - 1), st.binary(max_size=20))
def test_unknown_fields_are_passed_over(definition: QueueRunnerDef, number: int, payload: bytes) -> None:
    """A later version of the message may have more of them, of every kind."""

    def tag(kind: int) -> bytes:
        value, encoded = number << 3 | kind, b""
        while value > 127:
            encoded += bytes([value & 127 | 128])
            value >>= 7
        return encoded + bytes([value])

    known = definition.SerializeToString()
    sized = bytes([len(payload)]) + payload
    group = tag(3) + b"\x0a" + sized + tag(4)
    for unknown in (tag(0) + b"\x05", tag(1) + bytes(8), tag(2) + sized, group, tag(5) + bytes(4)):
        assert QueueRunnerDef.FromString(unknown + known) == QueueRunnerDef.FromString(known + unknown) == definition


def test_codes_may_be_packed_or_not() -> None:
    """Old writers put each into a field of its own."""
    assert QueueRunnerDef.FromString(b"(\x0b*\x02\x01\x02(\x03").queue_closed_exception_types == [11, 1, 2, 3]


def test_the_last_of_several_texts_counts() -> None:
    """As everywhere in Protocol Buffers, where messages may be joined by joining their bytes."""
    one, other = QueueRunnerDef("a", ["x"]), QueueRunnerDef("b", ["y"])
    joined = QueueRunnerDef.FromString(one.SerializeToString() + other.SerializeToString())
    assert joined == QueueRunnerDef("b", ["x", "y"])


def test_parse_replaces_what_was_there() -> None:
    """As protobuf's method of that name, and it returns the number of bytes."""
    definition = QueueRunnerDef("old", ["old"], "old", "old", [1])
    assert definition.ParseFromString(GOLDEN) == len(GOLDEN)
    assert definition == FULL


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        (QueueRunnerDef(queue_name=3), TypeError, "queue_name holds 3"),  # type: ignore[arg-type] # the point
        (QueueRunnerDef(enqueue_op_name=[b"x"]), TypeError, "enqueue_op_name holds b'x'"),  # type: ignore[list-item] # the point
        (QueueRunnerDef(close_op_name="\ud800"), ValueError, "close_op_name holds .* no UTF-8"),
        (QueueRunnerDef(queue_closed_exception_types=[2**31]), ValueError, "more than 32 bits"),
        (QueueRunnerDef(queue_closed_exception_types=["x"]), TypeError, "holds 'x'"),  # type: ignore[list-item] # the point
    ],
)
def test_what_cannot_be_written_is_refused(wrong: QueueRunnerDef, kind: type[Exception], said: str) -> None:
    """The error names the field."""
    with pytest.raises(kind, match=said):
        wrong.SerializeToString()


def test_a_misspelt_field_is_an_error() -> None:
    """It would be lost without a word."""
    with pytest.raises(AttributeError):
        QueueRunnerDef().queue_nmae = "x"  # type: ignore[attr-defined] # the point


@pytest.mark.parametrize(
    "data", [b"\x0a\x05ab", b"\x08", b"\x0d\x00", b"\x07", b"\x02\x00", b"\x0c", b"\x0b", b"\x0a\x01\xff"]
)
def test_the_error_says_where(data: bytes) -> None:
    """Truncated, wrong kinds, no number, groups that do not match, no UTF-8."""
    with pytest.raises(ProtocolError, match=r"byte|group|UTF-8"):
        QueueRunnerDef.FromString(data)
