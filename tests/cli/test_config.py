"""``enqueued config show``."""

from __future__ import annotations

from pathlib import Path

import pytest

from enqueued_cli.main import run

SHIPPED = Path(__file__).parents[2] / "config" / "enqueued.toml"


def test_without_anything_set_the_shipped_file_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """What `config show` prints is config/enqueued.toml, byte for byte."""
    assert run(["config", "show"]) == 0
    assert capsys.readouterr().out == SHIPPED.read_text()


def test_values_come_with_their_origin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """File, flag and default are told apart."""
    path = tmp_path / "t.toml"
    path.write_text('[stream.train]\nsequence = "m:A"\n')
    assert run(["config", "show", "--config", str(path), "--workers", "3"]) == 0
    shown = capsys.readouterr().out
    assert f'sequence = "m:A"  # {path} [stream.train]\n' in shown
    assert "workers = 3  # flag --workers\n" in shown
    assert "seed = 0  # default\n" in shown


def test_a_wrong_file_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown key is refused here as when serving."""
    path = tmp_path / "t.toml"
    path.write_text('[stream.train]\nsequnce = "m:A"\n')
    assert run(["config", "show", "--config", str(path)]) == 2
    assert "unknown key 'sequnce'; did you mean 'sequence'?" in capsys.readouterr().err
