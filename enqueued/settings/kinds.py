"""Kinds of values: how each is read from text, checked when it comes typed, and written as TOML.

`parse` reads what a flag or a variable says, `check` what a TOML file says; both raise `ValueError` without a
reason, because the one sentence in `expected` says what would have been right.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Kind:
    """What values a setting takes; `expected` ends the sentence "this is not ...", `metavar` is for help."""

    repeated: ClassVar[bool] = False

    @property
    def expected(self) -> str:
        raise NotImplementedError

    @property
    def metavar(self) -> str:
        raise NotImplementedError

    def parse(self, text: str) -> Any:
        return self.check(text)

    def check(self, value: object) -> Any:
        raise NotImplementedError

    def write(self, value: Any) -> str:
        return toml(value)


@dataclass(frozen=True)
class Text(Kind):
    """A string; `accepts` says which ones."""

    words: str = "text"
    example: str = "TEXT"
    accepts: Callable[[str], bool] = bool

    @property
    def expected(self) -> str:
        return self.words

    @property
    def metavar(self) -> str:
        return self.example

    def check(self, value: object) -> str:
        if not isinstance(value, str) or not self.accepts(value):
            raise ValueError
        return value


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number within bounds, or one word instead of it."""

    low: int
    high: int | None = None
    word: str | None = None

    @property
    def expected(self) -> str:
        return f"a whole number {_bounds(self.low, self.high)}" + (f', or "{self.word}"' if self.word else "")

    @property
    def metavar(self) -> str:
        return f"N|{self.word}" if self.word else "N"

    def parse(self, text: str) -> int | str:
        return self.check(text if text == self.word else int(text))

    def check(self, value: object) -> int | str:
        if self.word is not None and value == self.word:
            return self.word
        # bool is an int, but `workers = true` is a mistake
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError
        if value < self.low or (self.high is not None and value > self.high):
            raise ValueError
        return value


@dataclass(frozen=True)
class Seconds(Kind):
    """A span of time in seconds, finite and within bounds."""

    low: float = 0
    high: float | None = None

    @property
    def expected(self) -> str:
        return f"a number of seconds {_bounds(self.low, self.high)}"

    @property
    def metavar(self) -> str:
        return "SECONDS"

    def parse(self, text: str) -> float:
        return self.check(float(text))

    def check(self, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError
        if value < self.low or (self.high is not None and value > self.high):
            raise ValueError
        return float(value)

    def write(self, value: Any) -> str:
        return str(int(value)) if value == int(value) else repr(value)


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:i?B)?|B)?", re.IGNORECASE)
_POWERS = {"K": 10, "M": 20, "G": 30, "T": 40}


@dataclass(frozen=True)
class Size(Kind):
    """A number of bytes, or text with a binary unit: ``512M``, ``8G``, ``1.5GiB``."""

    low: int

    @property
    def expected(self) -> str:
        return f'a size in bytes of at least {self.write(self.low)}, such as "512M" or "8G"'

    @property
    def metavar(self) -> str:
        return "BYTES"

    def check(self, value: object) -> int:
        if isinstance(value, str):
            match = _SIZE.fullmatch(value.strip())
            if match is None:
                raise ValueError
            value = int(float(match[1]) * (1 << _POWERS[match[2].upper()] if match[2] else 1))
        if not isinstance(value, int) or isinstance(value, bool) or value < self.low:
            raise ValueError
        return value

    def write(self, value: Any) -> str:
        for unit, power in reversed(_POWERS.items()):
            if value and value % (1 << power) == 0:
                return f'"{value >> power}{unit}"'
        return str(value)


@dataclass(frozen=True)
class Switch(Kind):
    """Yes or no; a flag with a `--no-` form."""

    @property
    def expected(self) -> str:
        return "true or false"

    @property
    def metavar(self) -> str:
        return ""

    def parse(self, text: str) -> bool:
        word = text.strip().lower()
        if word in ("1", "true", "yes", "on"):
            return True
        if word in ("0", "false", "no", "off"):
            return False
        raise ValueError

    def check(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few words."""

    choices: tuple[str, ...]

    @property
    def expected(self) -> str:
        return "one of " + ", ".join(self.choices)

    @property
    def metavar(self) -> str:
        return "|".join(self.choices)

    def check(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise ValueError
        return value


@dataclass(frozen=True)
class Several(Kind):
    """A list: a repeatable flag, a variable with commas, a TOML array."""

    repeated: ClassVar[bool] = True
    each: Kind

    @property
    def expected(self) -> str:
        return f"a list in which each is {self.each.expected}"

    @property
    def metavar(self) -> str:
        return self.each.metavar

    def parse(self, text: str) -> tuple[Any, ...]:
        return tuple(self.each.parse(part.strip()) for part in text.split(",") if part.strip())

    def check(self, value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError
        return tuple(self.each.check(part) for part in value)

    def write(self, value: Any) -> str:
        return "[" + ", ".join(self.each.write(part) for part in value) + "]"


@dataclass(frozen=True)
class Arguments(Kind):
    """Keyword arguments: repeated ``key=value`` flags (JSON, else a string), a JSON object, a TOML table."""

    repeated: ClassVar[bool] = True

    @property
    def expected(self) -> str:
        return "KEY=VALUE (a JSON object in a variable, a table in TOML), where KEY is a Python name"

    @property
    def metavar(self) -> str:
        return "KEY=VALUE"

    def parse(self, text: str) -> dict[str, Any]:
        return self.check(json.loads(text))

    def check(self, value: object) -> dict[str, Any]:
        if isinstance(value, list | tuple):
            value = dict(_argument(part) for part in value)
        if not isinstance(value, dict) or not _is_json(value):
            raise ValueError
        if not all(key.isidentifier() for key in value):
            raise ValueError
        return value


def _argument(text: object) -> tuple[str, Any]:
    """One ``key=value``: the value is JSON where it reads as JSON, else the text itself."""
    key, equals, value = str(text).partition("=")
    if not equals:
        raise ValueError
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    return value is None or isinstance(value, str | int | float | bool)


def _bounds(low: float, high: float | None) -> str:
    return f"of at least {low}" if high is None else f"from {low} to {high}"


def toml(value: Any) -> str:
    """One value as TOML, on one line; `ValueError` for None, which TOML cannot say."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # a JSON string is a TOML basic string, but for DEL, which TOML wants escaped
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(value)
    if value is None:
        raise ValueError("TOML has no null")
    return str(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml(key)
