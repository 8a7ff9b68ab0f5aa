from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from enqueued.errors import LoadError
from enqueued.source.load import import_attribute
from sources import good

Write = Callable[[str, str], Path]


def refusal(target: str, app_dir: str = "") -> LoadError:
    with pytest.raises(LoadError) as caught:
        import_attribute(target, app_dir)
    assert "\n" not in str(caught.value)
    return caught.value


def test_attributes_are_followed() -> None:
    """``module:attribute.sub`` names what Python would find."""
    assert import_attribute("sources.good:Numbers") is good.Numbers
    assert import_attribute("sources.good:Shelf.ready") is good.Shelf.ready


def test_the_working_directory_is_importable_and_first(write_module: Write, tmp_path: Path) -> None:
    """A module beside the user is found, also when a later path has one of the same name."""
    sys.path.insert(0, str(tmp_path / "other"))
    write_module("other/enq_twice.py", "where = 'other'\n")
    write_module("enq_twice.py", "where = 'here'\n")
    assert import_attribute("enq_twice:where") == "here"
    assert sys.path[0] == str(tmp_path)


def test_app_dir_replaces_the_working_directory(write_module: Write, tmp_path: Path) -> None:
    """``--app-dir`` says where the module lies, absolute or not."""
    write_module("deep/enq_deep.py", "value = 1\n")
    assert import_attribute("enq_deep:value", "deep") == 1
    assert sys.path[0] == str(tmp_path / "deep")


def test_an_app_dir_that_is_no_folder_is_named(tmp_path: Path) -> None:
    """A mistyped folder is not mistaken for a missing module."""
    assert str(refusal("anything:at_all", str(tmp_path / "gone"))) == f"--app-dir {tmp_path / 'gone'} is not a folder"


@pytest.mark.parametrize("target", ["mymod", "mymod:", ":MySeq", "", ":", ".mymod:x", "a..b:x", "mymod:a..b"])
def test_a_malformed_target_says_the_format(target: str) -> None:
    """Whatever is not module:attribute is refused before anything is imported."""
    error = refusal(target)
    assert str(error).startswith(f'"{target}" must be in format "<module>:<attribute>"')
    assert error.traceback == ""


@pytest.mark.parametrize("target", ["enq_gone:x", "enq_gone.sub:x", "sources.gone:x", "sources.good.gone:x"])
def test_a_missing_module_says_where_it_was_looked_for(target: str) -> None:
    """The message names the module, the folder and the flag that changes it."""
    error = refusal(target)
    assert str(error).startswith(f'Could not import module "{target.partition(":")[0]}"')
    assert os.getcwd() in str(error)
    assert "--app-dir" in str(error)
    assert error.traceback == ""


def test_a_file_in_place_of_a_module_gets_a_hint(write_module: Write) -> None:
    """``data/mymod.py:x`` is what many type first."""
    write_module("data/enq_file.py", "x = 1\n")
    message = str(refusal("data/enq_file.py:x"))
    assert 'Give a module, not a file: "enq_file:..." with --app-dir data' in message


def test_an_import_that_fails_inside_the_users_module_keeps_its_traceback() -> None:
    """A dependency that is missing is not taken for the target that is missing."""
    error = refusal("sources.broken:source")
    assert str(error) == (
        "Module \"sources.broken\" raised ModuleNotFoundError: No module named 'no_such_dependency_of_mine'"
    )
    assert "sources/broken.py" in error.traceback
    assert "import no_such_dependency_of_mine" in error.traceback
    assert "importlib" not in error.traceback
    assert "enqueued/source" not in error.traceback


def test_a_package_that_misses_its_own_submodule_is_the_users_error(write_module: Write) -> None:
    """The missing name is a prefix of nothing that was asked for by us alone: the user's import statement failed."""
    write_module("enq_pack/__init__.py", "import enq_pack.part\n")
    error = refusal("enq_pack.part:x")
    assert "enq_pack/__init__.py" in error.traceback
    assert str(error).startswith('Module "enq_pack.part" raised ModuleNotFoundError')


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("sources.exploding:x", 'Module "sources.exploding" raised ValueError: the folder of images is empty'),
        ("sources.leaving:x", 'Module "sources.leaving" raised SystemExit: I leave'),
    ],
)
def test_any_exception_of_the_users_module_is_a_load_error(target: str, cause: str) -> None:
    """Also SystemExit, which would otherwise end the zygote without a word."""
    error = refusal(target)
    assert str(error) == cause
    assert error.traceback.startswith("Traceback (most recent call last):\n")
    assert target.partition(":")[0].replace(".", "/") + ".py" in error.traceback
    assert "importlib" not in error.traceback


def test_a_syntax_error_names_file_and_line(write_module: Write) -> None:
    """The message alone is enough to find the line."""
    write_module("enq_syntax.py", "x = (\n")
    assert str(refusal("enq_syntax:x")).endswith("(enq_syntax.py, line 1)")


def test_a_missing_attribute_suggests_the_nearest() -> None:
    """The message says which file was meant, since another module of that name may have come first."""
    message = str(refusal("sources.good:Number"))
    assert message == f'Attribute "Number" not found in "sources.good" ({good.__file__}); did you mean "Numbers"?'


def test_a_missing_sub_attribute_is_named() -> None:
    """It is said which part of a dotted attribute is missing."""
    assert str(refusal("sources.good:Shelf.Innner")) == (
        'Attribute "Innner" not found in "sources.good:Shelf"; did you mean "Inner"?'
    )


def test_an_attribute_that_raises_keeps_its_traceback(write_module: Write) -> None:
    """A module's __getattr__ is user code too."""
    write_module("enq_lazy.py", "def __getattr__(name):\n    return {}[name]\n")
    error = refusal("enq_lazy:x")
    assert str(error) == "enq_lazy.x raised KeyError: 'x'"
    assert "enq_lazy.py" in error.traceback


def test_a_module_written_a_moment_ago_is_found(write_module: Write) -> None:
    """The import system's memory of a folder does not hide a new file."""
    write_module("enq_first.py", "x = 1\n")
    import_attribute("enq_first:x")
    write_module("enq_second.py", "x = 2\n")
    assert import_attribute("enq_second:x") == 2
