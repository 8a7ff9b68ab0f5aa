from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "enqueued@.service"


def analyze_version() -> int:
    """The version of systemd-analyze, 0 where there is none."""
    if shutil.which("systemd-analyze") is None:
        return 0
    said = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True).stdout
    found = re.match(r"systemd (\d+)", said)
    return int(found[1]) if found else 0


needs_analyze = pytest.mark.skipif(
    analyze_version() < 250, reason="THE UNIT IS NOT VERIFIED HERE: no systemd-analyze of systemd 250 or later"
)


def settings() -> dict[str, list[str]]:
    """Every key of the unit, with its values in order."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if re.match(r"\w+=", line):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@needs_analyze
def test_unit_is_verified(tmp_path: Path) -> None:
    """systemd-analyze finds nothing to say about the unit, once its program is where a drop-in says."""
    shutil.copy(UNIT, tmp_path)
    drop_in = tmp_path / "enqueued@train.service.d"
    drop_in.mkdir()
    (drop_in / "here.conf").write_text(f"[Service]\nExecStart=\nExecStart={sys.executable} --version\n")
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", "enqueued@train.service"],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
    )
    assert (verified.returncode, verified.stderr) == (0, "")


@needs_analyze
def test_unit_is_hardened() -> None:
    """The exposure that systemd-analyze reckons is at most 2.0 of 10."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(UNIT)]
    judged = subprocess.run(command, capture_output=True, text=True)
    overall = re.search(r"Overall exposure level.*: ([\d.]+)", judged.stdout)
    assert overall is not None, judged.stdout + judged.stderr
    assert float(overall[1]) <= 2.0, judged.stdout
    assert judged.returncode == 0, judged.stderr


def test_configuration_source_and_name_are_not_tried_again() -> None:
    """The exit codes that mean that another start ends the same way are those of the errors."""
    from enqueued.errors import AddressInUse, ConfigError, LoadError

    codes = " ".join(str(error.exit_code) for error in (ConfigError, LoadError, AddressInUse))
    assert settings()["RestartPreventExitStatus"] == [codes]


def test_daemon_may_take_its_time_to_drain() -> None:
    """systemd waits for longer than the daemon's own time limit, so that it never cuts a drain short."""
    from enqueued.settings.table import DaemonSettings

    assert float(settings()["TimeoutStopSec"][0]) > DaemonSettings().graceful_timeout + 1


def test_every_setting_has_its_reason() -> None:
    """A comment stands above each block of hardening, as the head of the file promises."""
    lines = UNIT.read_text().splitlines()
    service = lines[lines.index("[Service]") + 1 : lines.index("[Install]")]
    unexplained, known = [], False
    for line in service:
        known = line.startswith("#") or (known and bool(line))
        if line and not known:
            unexplained.append(line)
    assert unexplained == []


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is missing")
def test_user_and_group_are_made(tmp_path: Path) -> None:
    """The sysusers file makes a locked user `enqueued` in a group of the same name."""
    (tmp_path / "etc").mkdir()
    command = ["systemd-sysusers", f"--root={tmp_path}", str(SYSTEMD / "enqueued.sysusers")]
    subprocess.run(command, check=True, capture_output=True)
    (user,) = [line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("enqueued:")]
    (group,) = [line for line in (tmp_path / "etc/group").read_text().splitlines() if line.startswith("enqueued:")]
    assert user.split(":")[3] == group.split(":")[2]
    assert user.endswith(":/var/lib/enqueued:/usr/sbin/nologin")
