"""Whose share a client asks for: what its arguments and the environment say together."""

from __future__ import annotations

from typing import Any

import pytest

from enqueued import Client
from enqueued.client.ranks import Share, share
from enqueued.errors import ConfigError
from enqueued.wire.messages import is_name

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8"}
SLURM = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}


def test_a_client_without_rank_or_group_sees_everything() -> None:
    """And one with a group splits."""
    assert share({}) == Share()
    assert not share({}).split
    assert share({}, group="g") == Share("g")
    assert share({}, group="g").split
    assert not share({}, rank=0, world_size=1).split


def test_a_rank_is_in_a_group_of_its_own() -> None:
    """It need not be named."""
    assert share({}, rank=1, world_size=4, tail="pad") == Share("ranks", 1, 4, "pad")
    assert share({}, rank=1, world_size=4, group="g") == Share("g", 1, 4)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (TORCHRUN, Share("ranks", 3, 8)),
        (SLURM, Share("ranks", 1, 2)),
        (SLURM | TORCHRUN, Share("ranks", 3, 8)),
        (TORCHRUN | {"TORCHELASTIC_RUN_ID": "none"}, Share("ranks", 3, 8)),
        (TORCHRUN | {"TORCHELASTIC_RUN_ID": "night 7/a"}, Share("ranks-night-7-a", 3, 8)),
        (TORCHRUN | {"TORCHELASTIC_RUN_ID": "none", "SLURM_JOB_ID": "4711"}, Share("ranks-4711", 3, 8)),
        (SLURM | {"SLURM_JOB_ID": "x" * 200}, Share("ranks-" + "x" * 58, 1, 2)),
    ],
)
def test_a_launcher_says_which_rank_this_is(environ: dict[str, str], expected: Share) -> None:
    """And what the run is called, so that two runs do not meet in one group."""
    found = share(environ, rank="env")
    assert found == expected
    assert found.group is not None
    assert is_name(found.group)
    assert share(environ, rank="env", group="g") == expected._replace(group="g")


def test_one_trainer_of_many_has_to_say_what_it_wants() -> None:
    """Each of them would train on everything, quietly; validation is meant to."""
    with pytest.raises(ConfigError, match=r'WORLD_SIZE is 8 .* rank="env".* group=.* rank=0, world_size=1'):
        share(TORCHRUN)
    assert share(TORCHRUN, group="g") == Share("g")
    assert share(TORCHRUN, rank=0, world_size=1, group="own") == Share("own", 0, 1)
    assert share(TORCHRUN, fixed_epoch=0) == Share()
    for harmless in ("1", "", "many"):
        assert share({"WORLD_SIZE": harmless}) == Share()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"rank": 0}, "world_size is missing"),
        ({"rank": "first"}, "world_size is missing"),
        ({"rank": "first", "world_size": 2}, "rank is a whole number or \"env\", not 'first'"),
        ({"rank": True, "world_size": 2}, "not True"),
        ({"rank": 0.0, "world_size": 2}, r"not 0\.0"),
        ({"rank": 0, "world_size": "2"}, "world_size is a whole number, not '2'"),
        ({"rank": 2, "world_size": 2}, "rank is 0 to 1 where world_size is 2, not 2"),
        ({"rank": -1, "world_size": 2}, "not -1"),
        ({"rank": 0, "world_size": 0}, "world_size is 1 to 4096, not 0"),
        ({"rank": 0, "world_size": 4097}, "not 4097"),
        ({"rank": "env"}, "neither RANK and WORLD_SIZE, or SLURM_PROCID and SLURM_NTASKS"),
        ({"rank": "env", "world_size": 2}, "takes world_size from the environment"),
        ({"world_size": 2}, "world_size is for ranks"),
        ({"tail": "pad"}, "tail is for ranks"),
        ({"rank": 0, "world_size": 2, "tail": "cut"}, "tail is .* not 'cut'"),
    ],
)
def test_what_does_not_fit_together_is_told(arguments: dict[str, Any], told: str) -> None:
    """With the value, before any daemon is looked for."""
    with pytest.raises(ConfigError, match=told):
        share({}, **arguments)
    with pytest.raises(ConfigError, match=told):
        Client("ipc:///nowhere.sock", **arguments)


def test_an_environment_that_is_none_is_told() -> None:
    """The first launcher's that is there."""
    with pytest.raises(ConfigError, match="RANK=a, WORLD_SIZE=2: these are no numbers"):
        share({"RANK": "a", "WORLD_SIZE": "2"} | SLURM, rank="env")
    with pytest.raises(ConfigError, match="rank is 0 to 1"):
        share({"RANK": "2", "WORLD_SIZE": "2"}, rank="env")
