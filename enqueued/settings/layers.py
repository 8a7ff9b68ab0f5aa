"""Where values come from: flags, variables, a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enqueued.errors import ConfigError
from enqueued.settings.declaration import PREFIX, Setting, settings_of
from enqueued.settings.table import DaemonSettings, StreamSettings, is_name

DAEMON = settings_of(DaemonSettings)
STREAM = settings_of(StreamSettings)

# variables that are no settings: which file to read, which stream the stream settings are for
CONFIG_VARIABLE = PREFIX + "CONFIG"
STREAM_VARIABLE = PREFIX + "STREAM"


@dataclass(frozen=True)
class Given:
    """One value as somebody gave it, already read, and the words for where that was."""

    value: Any
    origin: str


Layer = dict[str, Given]


def read(setting: Setting, value: object, origin: str) -> Given:
    """Read one value; text is parsed, anything else must have the right type."""
    try:
        kind = setting.kind
        return Given(kind.parse(value) if isinstance(value, str) else kind.check(value), origin)
    except ValueError:
        raise _refusal(setting, value, origin) from None


def from_flags(flags: Mapping[str, Any], known: Mapping[str, Setting]) -> Layer:
    """What the command line gives: a flag that was not given is missing, None or empty."""
    return {
        name: read(known[name], value, f"flag {known[name].flag}")
        for name, value in flags.items()
        if name in known and value is not None and value != ()
    }


def from_environment(environ: Mapping[str, str], known: Mapping[str, Setting]) -> Layer:
    """What the variables give; an empty one counts as not set, as compose files and shells write it."""
    return {
        name: read(setting, environ[setting.variable], f"environment {setting.variable}")
        for name, setting in known.items()
        if environ.get(setting.variable)
    }


def misspelled(environ: Iterable[str]) -> tuple[str, ...]:
    """A remark for each variable that is nearly a setting's.

    Only remarks: Kubernetes gives every container variables of its own for a service named `enqueued`.
    """
    known = {setting.variable for setting in (*DAEMON.values(), *STREAM.values())}
    known |= {CONFIG_VARIABLE, STREAM_VARIABLE}
    # what they all begin with would make any two of them alike
    names = [variable.removeprefix(PREFIX) for variable in known]
    strangers = sorted(variable for variable in environ if variable.startswith(PREFIX) and variable not in known)
    near = {variable: closest(variable.removeprefix(PREFIX), names) for variable in strangers}
    return tuple(f"{name} does nothing; did you mean {PREFIX}{right}?" for name, right in near.items() if right)


@dataclass(frozen=True)
class File:
    """A TOML file: what its [daemon] and each of its [stream.NAME] tables give."""

    daemon: Layer
    streams: dict[str, Layer]


def from_toml(path: str | Path | None) -> File:
    """Read a configuration file; `ConfigError` for what it cannot be read for, or for what it says."""
    if path is None:
        return File({}, {})
    document = _load(path)
    for key in document:
        if key not in ("daemon", "stream"):
            raise ConfigError(f"{path}: {_misplaced_top(key)}")
    daemon = _table(path, "daemon", document.get("daemon", {}), DAEMON)
    streams = document.get("stream", {})
    if not isinstance(streams, dict):
        raise ConfigError(f"{path}: stream is not a table: write [stream.train], and its settings below.")
    layers = {}
    for name, content in streams.items():
        if not isinstance(content, dict):
            where = "[daemon]" if name in DAEMON else f"[stream.NAME], such as [stream.train] {name} = ..."
            raise ConfigError(f"{path} [stream]: a stream needs a name, and {name!r} belongs in {where}.")
        if not is_name(name):
            raise ConfigError(f"{path}: a stream's name is 1 to 64 letters, digits, . - or _, not {name!r}.")
        layers[name] = _table(path, f"stream.{name}", content, STREAM)
    return File(daemon, layers)


def _load(path: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration file {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"The configuration file {path} is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The configuration file {path} is not TOML: {error}.") from None


def _table(path: str | Path, table: str, content: object, known: Mapping[str, Setting]) -> Layer:
    origin = f"{path} [{table}]"
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: {table} is not a table: write [{table}], and its settings below.")
    layer = {}
    for key, value in content.items():
        if key not in known:
            raise ConfigError(f"{origin}: {_misplaced(key, known)}")
        setting = known[key]
        try:
            layer[key] = Given(setting.kind.check(value), origin)
        except ValueError:
            raise _refusal(setting, value, origin) from None
    return layer


def _refusal(setting: Setting, value: object, origin: str) -> ConfigError:
    return ConfigError(f"{setting.name} = {value!r} ({origin}) is not {setting.kind.expected}.")


def _misplaced(key: str, known: Mapping[str, Setting]) -> str:
    other = STREAM if known is DAEMON else DAEMON
    if key in other:
        return f"unknown key {key!r}; it belongs in {'[stream.NAME]' if other is STREAM else '[daemon]'}."
    right = closest(key, known)
    hint = f"did you mean {right!r}?" if right else f"known are {', '.join(known)}."
    return f"unknown key {key!r}; {hint}"


def _misplaced_top(key: str) -> str:
    for known, table in ((DAEMON, "[daemon]"), (STREAM, "[stream.NAME]")):
        if key in known:
            return f"unknown key {key!r} at the top; it belongs in {table}."
    right = closest(key, ("daemon", "stream"))
    hint = {"daemon": "did you mean [daemon]?", "stream": "did you mean [stream.NAME]?"}
    return f"unknown key or table {key!r}; " + hint.get(right, "known are [daemon] and [stream.NAME].")


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that is nearest to a mistyped one, or nothing."""
    from difflib import get_close_matches  # imported late: only mistakes need it

    return next(iter(get_close_matches(word.replace("-", "_"), list(known), n=1, cutoff=0.7)), "")
