"""The public names of the library."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import enqueued
from enqueued_cli.main import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", enqueued.__all__)
def test_public_names_resolve(name: str) -> None:
    """What `__all__` promises is there."""
    assert getattr(enqueued, name) is not None
    assert name in dir(enqueued)


def test_other_names_are_refused() -> None:
    """A name that does not exist is an AttributeError, as for any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Clinet'"):
        enqueued.Clinet  # noqa: B018 - the access is what is tested


def test_importing_the_library_loads_nothing() -> None:
    """`import enqueued` alone brings neither NumPy nor ZeroMQ."""
    asked = "import sys, enqueued; print(sorted({'numpy', 'zmq', 'msgpack', 'click'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


def test_the_daemon_does_without_numpy() -> None:
    """It never looks into a batch, and 13 MB of its memory would be NumPy's."""
    asked = "import sys, enqueued.server.daemon; print(sorted({'numpy', 'zmq'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "['zmq']"


def test_the_command_is_installed() -> None:
    """The environment's `enqueued` is this command line."""
    (point,) = entry_points(group="console_scripts", name="enqueued")
    assert point.load() is main


def test_the_protocol_is_written() -> None:
    """The wheel test looks for every .md file; this one has to be there."""
    assert (ROOT / "enqueued" / "wire" / "PROTOCOL.md").is_file()
