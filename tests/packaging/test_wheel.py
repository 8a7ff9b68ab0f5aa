"""The wheel: what is in it, and what it says of itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from email import message_from_string
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from enqueued import __version__

ROOT = Path(__file__).parents[2]
PARTS = ("enqueued", "cli", "config", "systemd", "pyproject.toml", "README.md", "LICENSE")

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("wheel")]


def can_build_here() -> bool:
    """Whether the environment has what pyproject.toml asks for, so that nothing has to be downloaded."""
    try:
        return int(version("setuptools").partition(".")[0]) >= 64 and bool(version("wheel"))
    except PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: building leaves folders behind, and old ones would end up in the next wheel."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, copy / name)
    here = ["--no-isolation"] if can_build_here() else []
    command = [sys.executable, "-m", "build", "--wheel", *here, "--outdir", str(copy / "dist"), str(copy)]
    built = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (copy / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    """The names of everything in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def metadata(wheel: Path, name: str) -> str:
    """The text of one file of the wheel's dist-info."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"enqueued-{__version__}.dist-info/{name}").decode()


def test_the_wheel_holds_two_packages_and_nothing_else(names: list[str]) -> None:
    """Nobody's site-packages gets a package that is named `cli`, `config` or `tests`."""
    prefix = f"enqueued-{__version__}"
    top = {name.partition("/")[0] for name in names}
    assert top - {f"{prefix}.data"} == {"enqueued", "enqueued_cli", f"{prefix}.dist-info"}


def test_every_module_is_in_the_wheel(names: list[str]) -> None:
    """Each Python file of the two packages, with the marks of typed packages and the written protocol."""
    for root, package in ((ROOT, "enqueued"), (ROOT / "cli", "enqueued_cli")):
        for path in sorted((root / package).rglob("*")):
            if path.suffix in (".py", ".md") or path.name == "py.typed":
                assert str(path.relative_to(root)) in names
    assert {"enqueued/py.typed", "enqueued_cli/py.typed"} <= set(names)


def test_settings_and_unit_come_with_it(names: list[str]) -> None:
    """What an administrator copies from is installed below share/enqueued."""
    data = f"enqueued-{__version__}.data/data/share/enqueued"
    assert f"{data}/config/enqueued.toml" in names
    assert f"{data}/systemd/enqueued@.service" in names
    for path in (ROOT / "config" / "examples").glob("*.toml"):
        assert f"{data}/config/examples/{path.name}" in names


def test_the_wheel_installs_the_command(wheel: Path) -> None:
    """The entry point is the command line's main."""
    points = ConfigParser()
    points.read_string(metadata(wheel, "entry_points.txt"))
    assert dict(points["console_scripts"]) == {"enqueued": "enqueued_cli.main:main"}


def test_the_wheel_says_what_it_needs(wheel: Path) -> None:
    """Name, version and the few libraries that are always needed."""
    said = message_from_string(metadata(wheel, "METADATA"))
    assert (said["Name"], said["Version"], said["Requires-Python"]) == ("enqueued", __version__, ">=3.11")
    always = [line for line in said.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(re.split("[<>]", line)[0].strip() for line in always) == ["click", "msgpack", "numpy", "pyzmq"]
