"""How a setting is declared: one dataclass field with its default, its kind of value and its meaning."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from enqueued.settings.kinds import Arguments, Kind, Switch

PREFIX = "ENQUEUED_"


@dataclass(frozen=True)
class Setting:
    """One declared setting: everything that flags, variables, TOML, help and docs need to know of it.

    `meaning` is one sentence; `unset` says what happens while there is no value (a default of None).
    """

    name: str
    table: str
    default: Any
    kind: Kind
    meaning: str
    unset: str = ""

    @property
    def flag(self) -> str:
        # repeated once per argument, so it reads in the singular
        name = self.name.removesuffix("s") if isinstance(self.kind, Arguments) else self.name
        return "--" + name.replace("_", "-")

    @property
    def off_flag(self) -> str | None:
        return "--no-" + self.flag[2:] if isinstance(self.kind, Switch) else None

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def default_words(self) -> str:
        """The default as help shows it; what it means to leave it out where there is none."""
        return self.unset if self.default is None else self.kind.write(self.default).strip('"')


def setting(default: Any, kind: Kind, meaning: str, *, unset: str = "") -> Any:
    """Declare a setting as a dataclass field. With None as default, `unset` says what that means."""
    metadata = {"kind": kind, "meaning": meaning, "unset": unset}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@cache
def settings_of(table: type[Any]) -> dict[str, Setting]:
    """The settings that a class declares, by name, in the order of declaration."""
    declared = {}
    for each in fields(table):
        default = {} if each.default_factory is dict else each.default
        declared[each.name] = Setting(each.name, table.TABLE, default, **each.metadata)
    return declared
