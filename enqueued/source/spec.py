"""What to load and how to cut it into batches, as plain data that travels between processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Kind = Literal["sequence", "dataset", "generator"]


@dataclass(frozen=True)
class SourceSpec:
    """Names one source; two equal specs give equal batches if the user's code allows it.

    `target` is ``module:attribute[.attribute]``; `args` are the keyword arguments of the class or function found there.
    `batch_size`, `drop_last` and `collate` are for datasets. `collate` and `worker_init` are targets too.
    `app_dir` is put first on ``sys.path``; empty means the working directory.
    """

    kind: Kind
    target: str
    args: dict[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    drop_last: bool = False
    collate: str | None = None
    shuffle: bool = False
    seed: int = 0
    app_dir: str = ""
    worker_init: str | None = None
    replicas: int = 1

    def to_plain(self) -> dict[str, Any]:
        """The spec as plain data, for JSON and msgpack."""
        return asdict(self)

    def flags(self) -> list[str]:
        """The command-line flags that say the same."""
        said = [f"--{self.kind}", self.target]
        for name, value in self.args.items():
            said += ["--arg", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in ("kind", "target", "args") or value == one.default:
                continue
            said.append(f"--{one.name.replace('_', '-')}")
            if value is not True:
                said.append(str(value))
        return said

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> SourceSpec:
        """The spec that `to_plain` described; fields that this version does not know are ignored."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in plain.items() if name in known})
