"""What to load and how to cut it into batches, as plain data that travels between processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Kind = Literal["sequence", "dataset", "generator"]

# what a saved state compares, beside the target and its arguments: what changes nothing for a kind is not asked of it
_COMPARED = {
    "sequence": ("seed", "shuffle"),
    "dataset": ("seed", "shuffle", "batch_size", "drop_last", "collate"),
    "generator": ("seed", "replicas"),
}
# longer values are compared by their hash, so that a saved state stays small
_LONGEST_VALUE = 200


@dataclass(frozen=True)
class SourceSpec:
    """Names one source; two equal specs give equal batches if the user's code allows it.

    `target` is ``module:attribute[.attribute]``; `args` are the keyword arguments of the class or function found there,
    and `local_args` are more of them that say where it runs, not what it gives: paths, cache folders.
    `batch_size`, `drop_last` and `collate` are for datasets. `collate` and `worker_init` are targets too.
    `app_dir` is put first on ``sys.path``; empty means the working directory.
    """

    kind: Kind
    target: str
    args: dict[str, Any] = field(default_factory=dict)
    local_args: dict[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    drop_last: bool = False
    collate: str | None = None
    shuffle: bool = False
    seed: int = 0
    app_dir: str = ""
    worker_init: str | None = None
    replicas: int = 1

    @property
    def arguments(self) -> dict[str, Any]:
        """What the source is called with: `args` and `local_args`."""
        return {**self.args, **self.local_args}

    def to_plain(self) -> dict[str, Any]:
        """The spec as plain data, for JSON and msgpack."""
        return asdict(self)

    def flags(self) -> list[str]:
        """The command-line flags that say the same."""
        said = [f"--{self.kind}", self.target]
        for flag, arguments in (("--arg", self.args), ("--local-arg", self.local_args)):
            for name, value in arguments.items():
                said += [flag, f"{name}={_text(value)}"]
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in ("kind", "target", "args", "local_args") or value == one.default:
                continue
            said.append(f"--{one.name.replace('_', '-')}")
            if value is not True:
                said.append(str(value))
        return said

    def fingerprint(self) -> dict[str, Any]:
        """Which data this is, as plain data that a saved state compares; `local_args` is no part of it.

        The values of `args` are JSON text, long ones its hash.
        """
        args = {name: _compared(value) for name, value in self.args.items()}
        others = {name: getattr(self, name) for name in _COMPARED[self.kind]}
        return {"kind": self.kind, "source": self.target, "args": args, **others}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> SourceSpec:
        """The spec that `to_plain` described; fields that this version does not know are ignored."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in plain.items() if name in known})


def _text(value: Any) -> str:
    """One value as a flag says it: JSON, or the text itself where that does not read as JSON."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value)


def _compared(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    if len(text) <= _LONGEST_VALUE:
        return text
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:16]
