"""Which share of a stream a client asks for: everything, what its group leaves, or a rank's."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

from enqueued.errors import ConfigError
from enqueued.wire.hello import MOST_RANKS

GROUP = "ranks"
"""The group of ranks that name none."""
_LAUNCHERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))
_RUNS = ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID")
_MOST_ID = 58
_WAYS_OUT = (
    'Give rank="env": each of them gets its own share, in equal steps; or group="...": they share the batches as they '
    "come. For each of them to see every batch: rank=0, world_size=1, and a group of its own."
)


class Share(NamedTuple):
    """What HELLO says of it; `rank` is None for a client that is none."""

    group: str | None = None
    rank: int | None = None
    world_size: int = 1
    tail: Literal["drop", "pad"] = "drop"

    @property
    def split(self) -> bool:
        """Whether members of a group take what the others leave."""
        return self.group is not None and self.rank is None


def share(
    environ: Mapping[str, str],
    *,
    group: str | None = None,
    rank: int | str | None = None,
    world_size: int | None = None,
    tail: str = "drop",
    fixed_epoch: int | None = None,
) -> Share:
    """The share that a client's arguments mean. Raises `ConfigError` for what does not fit together."""
    if tail not in ("drop", "pad"):
        raise ConfigError(f'tail is "drop" or "pad", not {tail!r}')
    if rank is None:
        if world_size is not None or tail != "drop":
            raise ConfigError(f"{'world_size' if world_size is not None else 'tail'} is for ranks: give a rank, too")
        if group is None and fixed_epoch is None:
            _one_of_many(environ)
        return Share(group)
    if rank == "env":
        if world_size is not None:
            raise ConfigError('rank="env" takes world_size from the environment; do not give it, or give rank=0, 1 ...')
        rank, world_size = _from_environment(environ)
        group = group if group is not None else _group_of_run(environ)
    elif world_size is None:
        raise ConfigError(f"world_size is missing: rank {rank!r} of how many?")
    rank, world_size = _whole("rank", rank), _whole("world_size", world_size)
    if not 1 <= world_size <= MOST_RANKS:
        raise ConfigError(f"world_size is 1 to {MOST_RANKS}, not {world_size}")
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank is 0 to {world_size - 1} where world_size is {world_size}, not {rank}")
    return Share(GROUP if group is None else group, rank, world_size, cast(Literal["drop", "pad"], tail))


def _whole(name: str, value: Any) -> int:
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    ways = ' or "env"' if name == "rank" else ""
    raise ConfigError(f"{name} is a whole number{ways}, not {value!r}")


def _from_environment(environ: Mapping[str, str]) -> tuple[int, int]:
    for names in _LAUNCHERS:
        if all(name in environ for name in names):
            try:
                rank, world_size = (int(environ[name]) for name in names)
            except ValueError:
                said = ", ".join(f"{name}={environ[name]}" for name in names)
                raise ConfigError(f'rank="env" finds {said}: these are no numbers') from None
            return rank, world_size
    looked = ", or ".join(" and ".join(names) for names in _LAUNCHERS)
    raise ConfigError(f'rank="env" finds neither {looked} in the environment: use torchrun or srun, or give rank')


def _group_of_run(environ: Mapping[str, str]) -> str:
    """Runs that share a daemon are not to meet in one group, so the launcher's own name for the run is in it."""
    for name in _RUNS:
        run = environ.get(name, "")
        if run and run != "none":
            return f"{GROUP}-{re.sub(r'[^A-Za-z0-9._-]', '-', run)[:_MOST_ID]}"
    return GROUP


def _one_of_many(environ: Mapping[str, str]) -> None:
    said = environ.get("WORLD_SIZE", "")
    if said.isdecimal() and int(said) > 1:
        raise ConfigError(
            f"WORLD_SIZE is {said} in the environment, so this trainer is one of {said}, and neither rank nor group "
            f"is given: each of them would train on every batch. {_WAYS_OUT}"
        )
