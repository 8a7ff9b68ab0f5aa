"""Where daemon and client meet."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.errors import ConfigError
from enqueued.wire.places import Place, check_length, folders, parse, place_to_bind, places, trusted


@pytest.mark.parametrize(
    ("where", "endpoint", "stream"),
    [
        ("tcp://host:5555", "tcp://host:5555", None),
        ("tcp://host:5555/", "tcp://host:5555", None),
        ("tcp://host:5555/val", "tcp://host:5555", "val"),
        ("tcp://[::1]:5555/val", "tcp://[::1]:5555", "val"),
        ("ipc:///run/x/a.sock", "ipc:///run/x/a.sock", None),
        ("ipc:///run/x/a.sock/val", "ipc:///run/x/a.sock", "val"),
        ("ipc:///run/x.sock/a.sock", "ipc:///run/x.sock/a.sock", None),
        ("ipc://relative.sock", "ipc://relative.sock", None),
        ("ipc:///any/name", "ipc:///any/name", None),
    ],
)
def test_an_address_may_name_a_stream(where: str, endpoint: str, stream: str | None) -> None:
    """Behind the port, or behind the socket."""
    place = parse(where)
    assert (place.endpoint, place.stream) == (endpoint, stream)
    assert place.path == (endpoint.removeprefix("ipc://") if endpoint.startswith("ipc") else None)


@pytest.mark.parametrize("where", ["", "tcp://", "tcp://host", "tcp://:5555", "tcp://host:0", "tcp://host:70000",
                                   "tcp://host:x", "ipc://", "http://host:5555", "/run/a.sock"])  # fmt: skip
def test_what_is_no_address_is_an_error(where: str) -> None:
    """With examples of what is one."""
    with pytest.raises(ConfigError, match="tcp://host:port"):
        parse(where)


@given(st.text())
def test_any_text_is_an_address_or_a_config_error(where: str) -> None:
    """And nothing else."""
    try:
        assert isinstance(parse(where), Place)
    except ConfigError:
        return


def test_the_environment_says_where_to_look() -> None:
    """One endpoint alone, or the folders in their order."""
    assert places("x", {"ENQUEUED_ENDPOINT": "tcp://a:1/val"}) == [Place("tcp://a:1", "val")]
    found = places("x", {"RUNTIME_DIRECTORY": "/a:/b", "XDG_RUNTIME_DIR": "/c"})
    private = f"{tempfile.gettempdir()}/enqueued-{os.getuid()}"
    assert [place.path for place in found] == [
        *("/a/x.sock", "/b/x.sock", "/c/enqueued/x.sock", "/run/enqueued/x.sock", f"{private}/x.sock")
    ]
    assert folders({})[-1] == Path(private)


def test_a_daemon_binds_in_the_first_folder_that_it_may_write_to(tmp_path: Path) -> None:
    """It is made for its owner alone; one that others may write to is passed over."""
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    os.chmod(open_to_all, 0o777)
    place = place_to_bind("x", {"RUNTIME_DIRECTORY": str(open_to_all), "XDG_RUNTIME_DIR": str(tmp_path)})
    assert place.path == f"{tmp_path}/enqueued/x.sock"
    assert (tmp_path / "enqueued").stat().st_mode & 0o777 == 0o700
    assert trusted(tmp_path / "enqueued")
    assert not trusted(open_to_all)
    assert not trusted(tmp_path / "missing")
    assert place_to_bind("x", {"ENQUEUED_ENDPOINT": "ipc:///z.sock"}) == Place("ipc:///z.sock")


def test_a_path_that_is_too_long_is_told_early() -> None:
    """The kernel would say so only when it is bound."""
    check_length("/" + "x" * 98)
    with pytest.raises(ConfigError, match="too long"):
        check_length("/" + "x" * 99)
