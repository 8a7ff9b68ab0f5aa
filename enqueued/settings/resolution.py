"""From flags, variables and a file to settings, with the origin of every value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enqueued.errors import ConfigError
from enqueued.settings import layers
from enqueued.settings.layers import Given, Layer
from enqueued.settings.rules import KINDS, check_daemon, check_source
from enqueued.settings.table import DaemonSettings, StreamSettings, is_name

DEFAULT_STREAM = "default"


@dataclass(frozen=True)
class Settings:
    """All settings of one daemon, and where each value came from.

    `origins` is keyed by table (``daemon``, ``stream.train``) and setting; what it lacks is a default.
    `remarks` are for the log: they name what was said and does nothing.
    """

    daemon: DaemonSettings
    streams: dict[str, StreamSettings]
    origins: dict[tuple[str, str], str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def origin(self, table: str, key: str) -> str:
        """Where a value came from: ``flag --workers``, ``train.toml [stream.train]``, ``default``."""
        return self.origins.get((table, key), "default")


def resolve(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    toml_path: str | Path | None = None,
    *,
    need_source: bool = True,
) -> Settings:
    """Put settings together; precedence is flag, ``ENQUEUED_*``, TOML file, default.

    `flags` holds values by setting name, as text or typed, and ``stream``: the name of the stream that stream
    settings are for. Without it they are for the one stream ``default``, or override every stream of the file.
    Without `toml_path`, ``ENQUEUED_CONFIG`` names the file. `need_source=False` is for listings: a stream may lack
    a source there.
    Raises `ConfigError`.
    """
    file = layers.from_toml(toml_path or environ.get(layers.CONFIG_VARIABLE) or None)
    daemon_layer = _over(
        file.daemon, layers.from_environment(environ, layers.DAEMON), layers.from_flags(flags, layers.DAEMON)
    )
    daemon = DaemonSettings(**_values(daemon_layer))
    check_daemon(daemon, daemon_layer)

    outer = [layers.from_environment(environ, layers.STREAM), layers.from_flags(flags, layers.STREAM)]
    named = flags.get("stream") or environ.get(layers.STREAM_VARIABLE) or None
    stream_layers = dict(file.streams)
    for name in _meant(named, stream_layers, outer):
        stream_layers[name] = _over(stream_layers.get(name, {}), *outer)
    streams = {}
    for name, layer in stream_layers.items():
        streams[name] = StreamSettings(**_values(layer))
        if need_source or any(kind in layer for kind in KINDS):
            check_source(name, streams[name], layer)

    origins = {("daemon", key): given.origin for key, given in daemon_layer.items()}
    for name, layer in stream_layers.items():
        origins |= {(f"stream.{name}", key): given.origin for key, given in layer.items()}
    return Settings(daemon, streams, origins, layers.misspelled(environ))


def _meant(named: str | None, streams: Mapping[str, Layer], outer: list[Layer]) -> list[str]:
    """The streams that flags and variables are for."""
    if named is None:
        return list(streams) or [DEFAULT_STREAM]
    if not is_name(named):
        raise ConfigError(f"A stream's name is 1 to 64 letters, digits, . - or _, not {named!r}.")
    # beside the streams of a file, a name alone is a mistyped one; with a source it is one more stream
    if streams and named not in streams and not any(kind in layer for layer in outer for kind in KINDS):
        right = layers.closest(named, streams)
        hint = f"did you mean {right!r}?" if right else f"it has {', '.join(streams)}."
        raise ConfigError(f"The configuration file has no stream {named!r}; {hint}")
    return [named]


def _over(*several: Layer) -> Layer:
    """Later layers over earlier ones. Arguments of the source are replaced one by one, not as a whole."""
    merged: Layer = {}
    for layer in several:
        for key, given in layer.items():
            if key in merged and isinstance(given.value, dict):
                below = merged[key]
                given = Given(below.value | given.value, f"{given.origin}, over {below.origin}")
            merged[key] = given
    return merged


def _values(layer: Layer) -> dict[str, Any]:
    return {key: given.value for key, given in layer.items()}
