"""The table itself: each setting is whole, and the two tables do not get in each other's way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.settings import DaemonSettings, StreamSettings, settings_of
from enqueued.settings.kinds import Size, toml
from enqueued.settings.table import usable_cores

TABLES = (DaemonSettings, StreamSettings)
ALL = [setting for table in TABLES for setting in settings_of(table).values()]


@pytest.mark.parametrize("setting", ALL, ids=lambda setting: setting.name)
def test_every_setting_is_whole(setting: Any) -> None:
    """A setting has a sentence of meaning, words for what it takes, and a default that it would accept."""
    assert setting.meaning.endswith(".")
    assert setting.kind.expected
    if setting.default is None:
        assert setting.unset
    else:
        assert setting.kind.check(setting.default) == setting.default


def test_names_are_said_once() -> None:
    """No two settings share a name, since flags and variables have no tables."""
    names = [setting.name for setting in ALL]
    assert sorted(names) == sorted(set(names))
    assert not {"config", "stream"} & set(names)


def test_a_source_gets_what_it_needs() -> None:
    """The fields of a source's description are given by name."""
    fields = StreamSettings(dataset="m:D", batch_size=4, seed=2).spec_fields()
    assert (fields["kind"], fields["target"], fields["batch_size"], fields["seed"]) == ("dataset", "m:D", 4, 2)


def test_workers_are_counted() -> None:
    """Auto means the usable cores; a generator has as many workers as replicas."""
    assert StreamSettings(sequence="m:A").worker_count == usable_cores()
    assert StreamSettings(sequence="m:A", workers=3).worker_count == 3
    assert StreamSettings(generator="m:A", workers=3).worker_count == 1
    assert StreamSettings(generator="m:A", replicas=2).worker_count == 2


@pytest.mark.parametrize(
    ("on_error", "retries", "skips"),
    [
        ("raise", 0, False),
        ("skip", 0, True),
        ("retry:1", 1, False),
        ("retry:30", 30, False),
        ("retry:1000", 1000, False),
    ],
)
def test_what_an_error_does_is_one_setting(on_error: str, retries: int, skips: bool) -> None:
    """on_error says whether a batch is left out, and how often it is tried again."""
    assert settings_of(StreamSettings)["on_error"].kind.parse(on_error) == on_error
    stream = StreamSettings(sequence="m:A", on_error=on_error)
    assert (stream.retries, stream.skips) == (retries, skips)


def test_arguments_have_singular_flags() -> None:
    """A flag that is repeated for each argument reads in the singular; variable and key do not."""
    named = [(each.flag, each.variable) for each in ALL if each.name.endswith("args")]
    assert named == [("--arg", "ENQUEUED_ARGS"), ("--local-arg", "ENQUEUED_LOCAL_ARGS")]


def test_socket_modes_are_octal() -> None:
    """The mode is text in octal, and a number for the system."""
    assert DaemonSettings(socket_mode="0660").socket_permissions == 0o660


@pytest.mark.parametrize(
    ("text", "size"),
    [("1048576", 1 << 20), ("512M", 512 << 20), ("8g", 8 << 30), ("1.5 GiB", 3 << 29), ("1MB", 1 << 20)],
)
def test_sizes_are_read_with_their_unit(text: str, size: int) -> None:
    """Units are binary, in either case, with or without B or iB."""
    assert Size(1).parse(text) == size


@given(st.integers(1, 1 << 50))
def test_sizes_read_back(size: int) -> None:
    """A size as it is written is read as the same size."""
    assert Size(1).parse(Size(1).write(size).strip('"')) == size


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES)
def test_values_read_back_as_toml(value: Any) -> None:
    """Whatever JSON value an argument has, a TOML parser reads the same from what is written."""
    import tomllib

    assert tomllib.loads(f"value = {toml(value)}")["value"] == value
