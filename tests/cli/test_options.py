"""Flags: made from the table of settings, and read as the table says."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from enqueued.settings import DaemonSettings, Settings, StreamSettings, settings_of
from enqueued_cli.main import run
from enqueued_cli.serve import serve


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that `enqueued serve` would have served."""
    seen: list[Settings] = []

    def keep(settings: Settings) -> int:
        seen.append(settings)
        return 0

    daemon = ModuleType("enqueued.server.daemon")
    daemon.serve = keep  # type: ignore[attr-defined] # a module made by hand
    monkeypatch.setitem(sys.modules, "enqueued.server.daemon", daemon)
    return seen


def test_every_setting_has_a_flag_with_help() -> None:
    """What is in the table is on the command line, and nothing else but --config and --stream."""
    declared = {
        setting.flag: setting for table in (DaemonSettings, StreamSettings) for setting in settings_of(table).values()
    }
    flags = {parameter.opts[-1]: parameter for parameter in serve.params}
    assert set(flags) == {*declared, "--config", "--stream"}
    for flag, setting in declared.items():
        assert setting.meaning in str(getattr(flags[flag], "help", ""))


def test_help_shows_defaults_and_sections(capsys: pytest.CaptureFixture[str]) -> None:
    """Help names the default of each setting, in a section for the part that it is for."""
    assert run(["serve", "-h"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.index("The daemon:") < shown.index("--max-clients N") < shown.index("The stream:")
    assert "How many batches are kept ready. [default: 10]" in shown
    assert "[a quarter of the memory that is available at start]" in shown


def test_flags_arrive(served: list[Settings]) -> None:
    """Every way of writing a flag ends in the settings, with its origin."""
    flags = (
        "--dataset m:D --batch-size 8 --drop-last --no-shuffle --arg a=1 --arg b=x --workers auto "
        "--bind tcp://127.0.0.1:1 --bind tcp://127.0.0.1:2 --max-queue-bytes 512M --stream train --make-timeout 2.5"
    )
    assert run(["serve", *flags.split()]) == 0
    (settings,) = served
    train = settings.streams["train"]
    assert (train.dataset, train.batch_size, train.drop_last, train.shuffle) == ("m:D", 8, True, False)
    assert (train.args, train.workers, train.make_timeout) == ({"a": 1, "b": "x"}, "auto", 2.5)
    assert settings.daemon.bind == ("tcp://127.0.0.1:1", "tcp://127.0.0.1:2")
    assert settings.daemon.max_queue_bytes == 512 << 20
    assert settings.origin("stream.train", "shuffle") == "flag --shuffle"


def test_a_variable_arrives(served: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables are read when there is no flag."""
    monkeypatch.setenv("ENQUEUED_SEQUENCE", "m:A")
    monkeypatch.setenv("ENQUEUED_DROP_LAST", "no")
    assert run(["serve"]) == 0
    assert served[0].streams["default"].sequence == "m:A"


def test_a_file_arrives(served: list[Settings], tmp_path: Path) -> None:
    """--config names the file, and flags go before it."""
    path = tmp_path / "train.toml"
    path.write_text('[stream.train]\nsequence = "m:A"\nshuffle = true\n')
    assert run(["serve", "-c", str(path), "--no-shuffle"]) == 0
    assert served[0].streams["train"].shuffle is False


def test_a_wrong_flag_is_told_in_one_line(served: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    """A value out of bounds names flag, value and bound, and ends with exit code 2."""
    assert run(["serve", "--sequence", "m:A", "--max-queue-size", "0"]) == 2
    message = "max_queue_size = '0' (flag --max-queue-size) is not a whole number from 1 to 1000000."
    assert capsys.readouterr().err == f"enqueued: {message}\n"
    assert not served
