"""A QueueRunner as a message, by which it travels to another process."""

from __future__ import annotations

from dataclasses import dataclass, field

from enqueued.enqueuer.protobuf import decode_fields, decode_varints, encode_field, encode_varint
from enqueued.errors import ProtocolError

_NAMES = {1: "queue_name", 2: "enqueue_op_name", 3: "close_op_name", 4: "cancel_op_name"}
_TYPES = 5


@dataclass(slots=True)
class QueueRunnerDef:
    """The names of a QueueRunner's parts, with the fields of TensorFlow's message and the same bytes.

    `queue_closed_exception_types` are codes of `enqueued.errors`, such as OUT_OF_RANGE. Whoever receives a definition
    imports what its names say: take it only from where you would take a program.

    Source: TensorFlow 1.15, core/protobuf/queue_runner.proto.
    """

    queue_name: str = ""
    enqueue_op_name: list[str] = field(default_factory=list)
    close_op_name: str = ""
    cancel_op_name: str = ""
    queue_closed_exception_types: list[int] = field(default_factory=list)

    def SerializeToString(self) -> bytes:
        """The message as bytes, which TensorFlow reads as well.

        Raises TypeError: a field holds something of another type; ValueError: a text that has no UTF-8, or a code of
        more than 32 bits.
        """
        parts = [_single(1, self.queue_name)]
        parts += [encode_field(2, _utf8(2, name)) for name in self.enqueue_op_name]
        parts += [_single(3, self.close_op_name), _single(4, self.cancel_op_name)]
        if codes := b"".join(map(_code, self.queue_closed_exception_types)):
            parts.append(encode_field(_TYPES, codes))
        return b"".join(parts)

    @classmethod
    def FromString(cls, data: bytes) -> QueueRunnerDef:
        """The message that `data` holds; fields that it does not know are passed over.

        Raises ProtocolError: the bytes are not such a message; it says where.
        """
        try:
            return cls._decode(bytes(data))
        except ProtocolError as error:
            raise ProtocolError(f"these {len(data)} bytes are no QueueRunnerDef: {error}") from None

    def ParseFromString(self, data: bytes) -> int:
        """Become what `data` holds; returns how many bytes that is. Raises as `FromString`."""
        read = self.FromString(data)
        for name in self.__slots__:
            setattr(self, name, getattr(read, name))
        return len(data)

    @classmethod
    def _decode(cls, data: bytes) -> QueueRunnerDef:
        read = cls()
        for number, value in decode_fields(data):
            name = _NAMES.get(number)
            if number == _TYPES:
                codes = decode_varints(value) if isinstance(value, bytes) else [value]
                read.queue_closed_exception_types += map(_int32, codes)
            elif name is not None and isinstance(value, bytes):
                try:
                    text = value.decode()
                except UnicodeDecodeError:
                    raise ProtocolError(f"{name} is not UTF-8: {value[:40]!r}") from None
                if name == "enqueue_op_name":
                    read.enqueue_op_name.append(text)
                else:
                    setattr(read, name, text)
        return read


def _single(number: int, text: object) -> bytes:
    payload = _utf8(number, text)
    return encode_field(number, payload) if payload else b""  # an empty text that can be there once is not written


def _utf8(number: int, text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"QueueRunnerDef.{_NAMES[number]} holds {text!r}, which is no text")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"QueueRunnerDef.{_NAMES[number]} holds {text!r}, which has no UTF-8") from None


def _code(code: object) -> bytes:
    if not isinstance(code, int):
        raise TypeError(f"QueueRunnerDef.queue_closed_exception_types holds {code!r}, which is no code")
    if not -(2**31) <= code < 2**31:
        raise ValueError(f"QueueRunnerDef.queue_closed_exception_types holds {code}, which has more than 32 bits")
    return encode_varint(code)


def _int32(value: int) -> int:
    value &= 2**32 - 1
    return value - 2**32 if value >= 2**31 else value
