"""The command itself: what it lists, what it imports, and how errors become exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import click
import pytest

from enqueued import __version__
from enqueued.errors import AddressInUse, ConfigError, CrashLoop, EnqueuedError, LoadError, SourceError
from enqueued_cli.main import COMMANDS, cli, run

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., int]], None]:
    """Lets a function stand in for the daemon."""

    def stand_in(function: Callable[..., int]) -> None:
        daemon = ModuleType("enqueued.server.daemon")
        daemon.serve = function  # type: ignore[attr-defined] # a module made by hand
        monkeypatch.setitem(sys.modules, "enqueued.server.daemon", daemon)

    return stand_in


def test_help_imports_nothing_slow(enqueued: Run) -> None:
    """Help comes without NumPy, ZeroMQ, msgpack or any part of the engine."""
    asked = "import sys; from enqueued_cli.main import run; code = run(['--help']); print(code, sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=30)
    last = done.stdout.splitlines()[-1]
    assert last.startswith("0 ")
    for name in ("numpy", "zmq", "msgpack", "enqueued.settings", "enqueued.server", "enqueued.client"):
        assert f"'{name}'" not in last


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command is listed with its meaning, with -h as with --help."""
    assert run(["-h"]) == 0
    shown = capsys.readouterr().out
    for name, (_, meaning) in COMMANDS.items():
        assert f"{name} " in shown
        assert meaning in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_what_the_list_says(name: str) -> None:
    """The list of commands is written by hand, so that it imports none of them; the commands agree with it."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert (command.help or "").splitlines()[0].startswith(COMMANDS[name][1].rstrip("."))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command can be imported and explains itself."""
    assert run([name, "--help"]) == 0
    assert f"Usage: enqueued {name}" in capsys.readouterr().out


def test_the_version_is_printed(enqueued: Run) -> None:
    """`enqueued --version` is one line on standard output."""
    done = enqueued("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"enqueued {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["srve"], "No such command 'srve'. Did you mean 'serve'?"),
        (["zzz"], "No such command 'zzz'."),
        (["serve", "--pol", "thread"], "No such option '--pol'"),
        (["serve", "--pool", "fibre"], "'fibre' is not one of"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Mistyped commands and options end with exit code 2 and, where there is one, the right word."""
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EnqueuedError("no"), 1),
        (SourceError("no"), 1),
        (ConfigError("no"), 2),
        (LoadError("no"), 3),
        (AddressInUse("no"), 4),
        (CrashLoop("no"), 5),
        (click.Abort(), 130),
    ],
)
def test_errors_become_exit_codes(
    serving: Callable[..., None], error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each error has its exit code, and is told in one line on standard error."""

    def fail(settings: object) -> int:
        raise error

    serving(fail)
    assert run(["serve", "--sequence", "m:A"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == ("" if isinstance(error, click.Abort) else "enqueued: no\n")


def test_the_users_traceback_comes_before_the_message(
    serving: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """When user code raised, its own traceback is shown, and the last line is still the cause on one line."""

    def fail(settings: object) -> int:
        raise LoadError("MySeq raised\n  ValueError: x", "Traceback ...\nValueError: x\n")

    serving(fail)
    run(["serve", "--sequence", "m:A"])
    assert capsys.readouterr().err == "Traceback ...\nValueError: x\nenqueued: MySeq raised ValueError: x\n"


def test_what_serving_returns_is_the_exit_code(serving: Callable[..., None]) -> None:
    """The daemon says itself how it ended."""
    serving(lambda settings: 5)
    assert run(["serve", "--sequence", "m:A"]) == 5


def test_a_remark_does_not_stop_the_daemon(
    serving: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variable that is nearly a setting's is pointed out, and the daemon starts."""
    monkeypatch.setenv("ENQUEUED_WORKER", "3")
    serving(lambda settings: 0)
    assert run(["serve", "--sequence", "m:A"]) == 0
    assert "did you mean ENQUEUED_WORKERS?" in capsys.readouterr().err


def test_errors_are_coloured_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A terminal gets colours unless NO_COLOR is set; a file or a pipe never does."""
    from enqueued_cli.main import in_colour

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert not in_colour()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert in_colour()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not in_colour()


def test_a_reader_that_leaves_is_no_error(enqueued: Run) -> None:
    """Output into a pipe that nobody reads any more ends quietly, without a traceback."""
    command = [sys.executable, "-m", "enqueued_cli", "config", "show"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
