"""What `Client.state_dict` gives: plain data that says where training stands, and in which stream."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from enqueued.batch import Position
from enqueued.errors import ConfigError, ProtocolError
from enqueued.wire.messages import MOST_EPOCHS, is_count, show

VERSION = 1
RESIZING = frozenset({"batch_size", "length", "drop_last"})
"""What changes which data an index names, so that only the beginning of an epoch is where it was."""
_KEYS = frozenset({"version", "fingerprint", "epoch", "index", "ahead", "missing", "epochs_done", "canary"})


@dataclass(frozen=True)
class State:
    """A saved state.

    `epoch` and `index` are the next position, for all ranks the beginning of a step. `ahead` are positions from there
    on that were taken already, `missing` those before it that are not done: a list for split groups, None for all
    others. `epochs_done` counts for `Client.epochs`. `canary` is the checksum of the first batch of an epoch.
    """

    fingerprint: dict[str, Any]
    epoch: int
    index: int
    ahead: tuple[Position, ...] = ()
    missing: tuple[Position, ...] | None = None
    epochs_done: int = 0
    canary: tuple[int, str] | None = None

    @property
    def position(self) -> Position:
        """The next position."""
        return self.epoch, self.index

    def to_plain(self) -> dict[str, Any]:
        """The state as dicts, lists, numbers and text: for `torch.save`, pickle or JSON. Raises `ProtocolError`."""
        try:
            plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        except (TypeError, ValueError, RecursionError) as error:
            raise ProtocolError(f"the daemon's fingerprint is no plain data: {error}") from None
        return {"version": VERSION, **plain}

    @classmethod
    def from_plain(cls, plain: Any) -> State:
        """The checked state. Raises `ConfigError` that says what is wrong with it."""
        if isinstance(plain, str | bytes | os.PathLike):
            raise ConfigError(f"state is what state_dict() gave, not a file: load {show(plain)} first")
        if not isinstance(plain, Mapping) or not plain.keys() >= {"version", "fingerprint", "epoch", "index"}:
            raise ConfigError(f"state is what state_dict() gave, not {show(plain)}")
        version = plain["version"]
        if version != VERSION:
            newer = is_count(version) and version > VERSION
            raise ConfigError(
                f"the state has version {show(version)}, and this enqueued knows {VERSION}"
                + (": a newer one wrote it, so it takes that to load it" if newer else "")
            )
        unknown = plain.keys() - _KEYS
        if unknown:
            raise ConfigError(f"the state has a {show(min(unknown, key=str))}, which no state has")
        fingerprint, done, missing = plain["fingerprint"], plain.get("epochs_done", 0), plain.get("missing")
        if not isinstance(fingerprint, Mapping):
            raise ConfigError(f"the state's fingerprint is {show(fingerprint)}, and should be a dict")
        if not is_count(done):
            raise ConfigError(f"the state's epochs_done is {show(done)}, and should be a number")
        epoch, index = _position("position", [plain["epoch"], plain["index"]])
        return cls(
            fingerprint={str(key): value for key, value in fingerprint.items()},
            epoch=epoch,
            index=index,
            ahead=_positions("ahead", plain.get("ahead", [])),
            missing=None if missing is None else _positions("missing", missing),
            epochs_done=done,
            canary=_canary(plain.get("canary")),
        )


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """What differs between two fingerprints, by name: ``{"seed": "seed was 1 and is 2"}``.

    What only one of them tells was not known when the other was made, and is no difference; but arguments are, one by
    one.
    """
    found = {}
    for name in was:
        if name not in now or was[name] == now[name]:
            continue
        for path, before, after in _leaves(name, was[name], now[name]):
            found[path] = f"{path} was {before} and is {after}"
    return found


def _leaves(name: str, was: Any, now: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in [*was, *(key for key in now if key not in was)]:
            if key not in was or key not in now or was[key] != now[key]:
                before, after = (_text(side[key]) if key in side else "not given" for side in (was, now))
                yield f"{name}.{key}", before, after
    else:
        yield name, _text(was), _text(now)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "none" if value is None else show(value)


def _position(what: str, found: Any) -> Position:
    if isinstance(found, list | tuple) and len(found) == 2 and all(map(is_count, found)) and found[0] < MOST_EPOCHS:
        return found[0], found[1]
    raise ConfigError(f"the state's {what} has {show(found)}, and should have an epoch and an index")


def _positions(what: str, found: Any) -> tuple[Position, ...]:
    if not isinstance(found, list | tuple):
        raise ConfigError(f"the state's {what} is {show(found)}, and should be a list of positions")
    return tuple(_position(what, one) for one in found)


def _canary(found: Any) -> tuple[int, str] | None:
    if found is None:
        return None
    if isinstance(found, list | tuple) and len(found) == 2 and is_count(found[0]) and isinstance(found[1], str):
        return found[0], found[1]
    raise ConfigError(f"the state's canary is {show(found)}, and should be an epoch and a checksum")
