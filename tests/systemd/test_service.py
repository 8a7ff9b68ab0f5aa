"""The unit under a real systemd, which a sandbox boots over the files of this host."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("systemd")]

HERE = Path(__file__).parent
HOUSE = HERE.parents[1]
PROGRAM = Path(sysconfig.get_path("scripts")) / "enqueued"
NEEDED = ("systemctl", "systemd-sysusers", "unshare", "nsenter", "ip", "setpriv")
PATIENCE_S = 20

# What the daemon runs from: this checkout and this Python, which need not lie where a service can see them.
SHOWN = sorted({str(HOUSE), sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix)} - {"/usr"})

UNIT = (HOUSE / "systemd/enqueued@.service").read_text()
(COMMAND,) = re.findall("^ExecStart=/usr/bin/enqueued (.*)", UNIT, re.MULTILINE)
DROP_IN = f"""
[Service]
ExecStart=
ExecStart={PROGRAM} {COMMAND}
# also where PrivateTmp= has put an empty folder over it
BindReadOnlyPaths={" ".join(SHOWN)}
# systemd forgets a unit that ended well
ExecStopPost=/bin/sh -c 'echo "$SERVICE_RESULT $EXIT_CODE $EXIT_STATUS" >>/run/enqueued/%i.ends'
"""

USERS = """
u alice -
m alice enqueued
u bob -
"""


def missing() -> str:
    """What this host lacks for a sandbox, or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "root on Linux"
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    programs = [program for program in NEEDED if shutil.which(program, path=path) is None]
    if programs:
        return "the programs " + ", ".join(programs)
    if not any(Path(place, "cgroup.procs").exists() for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")):
        return "a cgroup2 file system"
    probe = subprocess.run(
        ["unshare", "-m", "-p", "-f", "-u", "-i", "-n", "-C", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        text=True,
    )
    return f"namespaces and mounts ({probe.stderr.strip()})" if probe.returncode else ""


class Sandbox:
    """A booted systemd."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def control(self, verb: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(HERE / "systemd-sandbox"), verb, str(self.folder), *words],
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert not check or done.returncode == 0, f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command inside, as root."""
        return self.control("run", *command, check=check)

    def write(self, path: str, text: str) -> None:
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")"; printf %s "$2" >"$1"', "sh", path, text)


class Service:
    """One instance of the unit in the sandbox."""

    def __init__(self, sandbox: Sandbox, name: str) -> None:
        self.sandbox = sandbox
        self.name = name
        self.unit = f"enqueued@{name}.service"

    def configure(self, source: str, drop_in: str = "", daemon: str = "") -> None:
        """Writes the daemon's configuration and, if there is one, the instance's own drop-in."""
        stream = f'[stream.default]\nsequence = "{source}"\napp_dir = "{HERE}"\nworkers = 2\n'
        self.sandbox.write(f"/etc/enqueued/{self.name}.toml", f"[daemon]\n{daemon}\n{stream}")
        if drop_in:
            self.sandbox.write(f"/etc/systemd/system/{self.unit}.d/own.conf", f"[Service]\n{drop_in}\n")
            self.systemctl("daemon-reload")

    def systemctl(self, verb: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        words = [verb] if verb == "daemon-reload" else [verb, self.unit]
        return self.sandbox.run("systemctl", *words, check=check)

    def start(self) -> None:
        done = self.systemctl("start", check=False)
        assert done.returncode == 0, done.stderr + self.journal()

    def journal(self) -> str:
        self.sandbox.run("journalctl", "--sync")
        return self.sandbox.run("journalctl", "--no-pager", "--output=cat", f"--unit={self.unit}").stdout

    def show(self, key: str) -> str:
        return self.sandbox.run("systemctl", "show", "--value", f"--property={key}", self.unit).stdout.strip()

    def ends(self) -> list[str]:
        """How each run of the daemon ended: the result, and the exit code or signal of its main process."""
        return self.sandbox.run("cat", f"/run/enqueued/{self.name}.ends", check=False).stdout.splitlines()

    def processes(self) -> set[int]:
        """The pids, as the sandbox counts them, of all that runs in the unit's control group."""
        group = "/sys/fs/cgroup/system.slice/system-enqueued.slice/" + self.unit
        listed = self.sandbox.run("sh", "-c", f'cat "{group}"/cgroup.procs "{group}"/*/cgroup.procs', check=False)
        return {int(pid) for pid in listed.stdout.split()}

    def take(
        self, user: str = "root", *, connect_timeout_s: float = 10, address: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Lets a user's trainer take an epoch from this daemon, at its socket if no other address is given."""
        who = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        where = f"ipc:///run/enqueued/{self.name}.sock" if address is None else address
        trainer = [sys.executable, str(HERE / "taker.py"), str(connect_timeout_s)]
        return self.sandbox.run(*who, "env", f"ENQUEUED_ENDPOINT={where}", *trainer, check=False)

    def assert_serves(self, user: str = "root") -> None:
        taken = self.take(user)
        assert taken.returncode == 0, taken.stderr + self.journal()
        assert json.loads(taken.stdout) == {"numbers": list(range(12)), "shared_memory": True}


def until(true: Callable[[], bool]) -> None:
    """Waits for what systemd does by itself."""
    end_s, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not true():
        assert time.monotonic() < end_s, f"not so within {PATIENCE_S} s"
        pause.wait(0.05)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with the unit installed as its head says, and two users: alice in the group, bob not."""
    if lacking := missing():
        pytest.skip(f"THE UNIT IS NOT STARTED HERE: a sandbox for systemd needs {lacking}")
    box = Sandbox(tmp_path_factory.mktemp("systemd"))
    booted = box.control("start", *SHOWN, check=False)
    if booted.returncode:
        pytest.skip(f"THE UNIT IS NOT STARTED HERE: {booted.stderr.strip()}")
    try:
        box.write("/etc/systemd/system/enqueued@.service", UNIT)
        box.write("/etc/systemd/system/enqueued@.service.d/tests.conf", DROP_IN)
        box.write("/etc/sysusers.d/enqueued.conf", (HOUSE / "systemd/enqueued.sysusers").read_text())
        box.write("/etc/sysusers.d/tests.conf", USERS)
        box.run("systemd-sysusers")
        box.run("systemctl", "log-target", "journal")
        box.run("systemctl", "daemon-reload")
        yield box
    finally:
        box.control("stop")


@pytest.fixture
def service(sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[Service]:
    """An instance with a name of its own, configured to serve and not yet started."""
    one = Service(sandbox, re.sub(r"\W+", "-", request.node.name)[5:45])
    one.configure("served:Counting")
    yield one
    one.systemctl("stop", check=False)
    assert one.processes() == set()


def test_start_returns_when_the_daemon_is_ready(service: Service) -> None:
    """READY=1 comes from the daemon itself, which then runs as its own user, and says what it serves."""
    service.start()
    assert (service.show("ActiveState"), service.show("SubState")) == ("active", "running")
    assert "served:Counting" in service.show("StatusText")
    main = service.show("MainPID")
    owner = service.sandbox.run("ps", "-o", "user=,group=", "-p", main).stdout.split()
    assert owner == ["enqueued", "enqueued"]
    assert int(main) in service.processes()


def test_trainer_gets_the_right_batches(service: Service) -> None:
    """A client in another process of the host takes an epoch, in order and through shared memory."""
    service.start()
    service.assert_serves()


def test_stop_ends_with_zero_and_leaves_no_process(service: Service) -> None:
    """SIGTERM to the daemon alone ends it and its workers within the time limit, with nothing left to be killed."""
    service.start()
    service.assert_serves()
    assert len(service.processes()) > 1
    service.systemctl("stop")
    assert service.show("ActiveState") == "inactive"
    assert service.ends() == ["success exited 0"]
    assert service.processes() == set()
    assert "Deactivated successfully" in service.journal()
    assert "Killing process" not in service.journal()


def test_broken_source_never_becomes_active(service: Service) -> None:
    """A source that cannot be built ends the start with 3 and the user's traceback, and is not tried again."""
    service.configure("served:Broken")
    assert service.systemctl("start", check=False).returncode != 0
    assert service.show("ActiveState") == "failed"
    assert service.ends() == ["exit-code exited 3"]
    assert service.show("ActiveEnterTimestampMonotonic") == "0"
    assert service.show("NRestarts") == "0"
    assert "the data set is not there" in service.journal()


def test_killed_daemon_is_restarted_without_its_old_workers(service: Service) -> None:
    """SIGKILL of the main process ends its workers too; a new daemon serves again."""
    service.start()
    old = service.processes()
    service.sandbox.run("kill", "-KILL", service.show("MainPID"))
    until(lambda: service.show("NRestarts") == "1" and service.show("ActiveState") == "active")
    assert old.isdisjoint(service.processes())
    assert service.ends() == ["signal killed KILL"]
    service.assert_serves()


def test_frozen_daemon_is_restarted(service: Service) -> None:
    """A daemon whose loop stands still sends no more pings, and the watchdog replaces it."""
    service.configure("served:Counting", "WatchdogSec=2\nTimeoutAbortSec=1")
    service.start()
    main = service.show("MainPID")
    service.sandbox.run("kill", "-STOP", main)
    until(lambda: service.show("NRestarts") == "1" and service.show("ActiveState") == "active")
    assert service.show("MainPID") != main
    assert service.ends()[0].startswith("watchdog")
    service.assert_serves()


def test_idle_daemon_keeps_its_watchdog_content(service: Service) -> None:
    """A daemon with nothing to do pings all the same."""
    service.configure("served:Counting", "WatchdogSec=1")
    service.start()
    for _ in range(2):
        last = int(service.show("WatchdogTimestampMonotonic"))
        until(lambda last=last: int(service.show("WatchdogTimestampMonotonic")) > last)  # type: ignore[misc]
    assert (service.show("ActiveState"), service.show("NRestarts")) == ("active", "0")


def test_member_of_the_group_is_let_in_and_nobody_else(service: Service) -> None:
    """A user in group `enqueued` trains through shared memory; one who is not cannot connect, and is told why."""
    service.start()
    service.assert_serves("alice")
    refused = service.take("bob", connect_timeout_s=1)
    assert refused.returncode != 0
    assert f"/run/enqueued/{service.name}.sock" in refused.stderr
    assert "permission denied" in refused.stderr.lower()
    service.assert_serves("alice")


def test_instances_share_the_runtime_directory(service: Service) -> None:
    """An instance that stops leaves the sockets of the others where they are."""
    service.start()
    other = Service(service.sandbox, "other")
    other.configure("served:Counting")
    other.start()
    other.systemctl("stop")
    service.assert_serves("alice")


def test_default_instance_is_found_without_an_address(sandbox: Sandbox) -> None:
    """`Client()` of a user in the group needs neither an address nor a variable for `enqueued@default`."""
    default = Service(sandbox, "default")
    default.configure("served:Counting")
    default.start()
    taken = default.take("alice", address="")
    default.systemctl("stop")
    assert taken.returncode == 0, taken.stderr
    assert json.loads(taken.stdout)["numbers"] == list(range(12))


def test_unit_lets_a_daemon_serve_over_tcp(service: Service) -> None:
    """What libzmq asks of the kernel for a tcp address, it gets."""
    service.configure("served:Counting", daemon='bind = ["tcp://lo:5555"]')
    service.start()
    taken = service.take("bob", address="tcp://127.0.0.1:5555")
    assert taken.returncode == 0, taken.stderr + service.journal()
    assert json.loads(taken.stdout) == {"numbers": list(range(12)), "shared_memory": False}
