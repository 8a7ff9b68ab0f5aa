"""What settings must say together."""

from __future__ import annotations

from pathlib import Path

import pytest

from enqueued.errors import ConfigError
from enqueued.settings import resolve


def test_a_stream_needs_a_source() -> None:
    """Without a source the error names the three flags that bring one."""
    with pytest.raises(ConfigError, match="'default' has no source: give one of --sequence, --dataset and --generator"):
        resolve({}, {})


def test_a_listing_needs_no_source() -> None:
    """Settings can be listed before there is a source."""
    assert resolve({}, {}, need_source=False).streams["default"].target == ""


def test_two_sources_are_refused() -> None:
    """Two sources for one stream are named with their origins."""
    message = r"more than one source: sequence \(flag --sequence\) and generator \(environment ENQUEUED_GENERATOR\)"
    with pytest.raises(ConfigError, match=message):
        resolve({"sequence": "m:A"}, {"ENQUEUED_GENERATOR": "m:B"})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"sequence": "m:A", "batch_size": "1"}, r"batch_size = 1 \(flag --batch-size\) is for a dataset"),
        ({"sequence": "m:A", "drop_last": True}, "drop_last = True"),
        ({"generator": "m:A", "collate": "m:c"}, "collate = 'm:c'"),
        ({"generator": "m:A", "shuffle": True}, "shuffle = True .* is for a sequence or a dataset, and"),
        ({"dataset": "m:A", "batch_size": "8", "replicas": "2"}, "replicas = 2 .* is for a generator"),
        ({"generator": "m:A", "reorder_window": "4"}, "reorder_window = 4 .* is for a sequence or a dataset, and"),
        ({"generator": "m:A", "on_error": "skip"}, "on_error = 'skip' .* is for a sequence or a dataset, and"),
        ({"dataset": "m:A"}, "needs a batch size"),
        ({"sequence": "m:A", "app_dir": "/no/such"}, r"app_dir = '/no/such' \(flag --app-dir\) is not a folder"),
    ],
)
def test_a_setting_for_another_source_is_refused(flags: dict[str, object], message: str) -> None:
    """A setting that would do nothing for this kind of source is an error, not ignored."""
    with pytest.raises(ConfigError, match=message):
        resolve(flags, {})


def test_an_argument_is_given_once(tmp_path: Path) -> None:
    """An argument that is both one of the data and a local one is refused, with both origins."""
    path = tmp_path / "train.toml"
    path.write_text('[stream.train]\nsequence = "m:A"\nargs = { path = "/a", size = 1 }\n')
    message = r"has path in args \(.*\[stream.train\]\) and in local_args \(flag --local-arg\). Keep one"
    with pytest.raises(ConfigError, match=message):
        resolve({"local_args": ("path=/b",)}, {}, path)


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://trainer.example:1", "tcp://[::]:1"])
def test_an_address_for_other_machines_is_refused(address: str) -> None:
    """A bind that others can reach needs --insecure, and the error says why."""
    flags = {"sequence": "m:A", "bind": (address,)}
    with pytest.raises(ConfigError, match="neither encryption nor a login"):
        resolve(flags, {})
    assert resolve({**flags, "insecure": True}, {}).daemon.bind == (address,)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:5555", "tcp://localhost:*", "tcp://[::1]:1", "tcp://127.9.9.9:1"])
def test_a_loopback_address_is_accepted(address: str) -> None:
    """A bind that stays on the host needs nothing more."""
    assert resolve({"sequence": "m:A", "bind": (address,)}, {}).daemon.bind == (address,)


def test_several_addresses_come_in_one_variable() -> None:
    """A variable lists addresses with commas."""
    settings = resolve({"sequence": "m:A"}, {"ENQUEUED_BIND": "tcp://127.0.0.1:1, tcp://127.0.0.1:2"})
    assert settings.daemon.bind == ("tcp://127.0.0.1:1", "tcp://127.0.0.1:2")


def test_a_folder_to_import_from_must_be_there(tmp_path: Path) -> None:
    """An app_dir that exists is taken as it is."""
    settings = resolve({"sequence": "m:A", "app_dir": str(tmp_path)}, {})
    assert settings.streams["default"].app_dir == str(tmp_path)
