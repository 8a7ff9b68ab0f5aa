"""The control socket: who is let in, what is answered to garbage, and what the requests do to a living daemon."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from enqueued import Client
from enqueued.client.control import Control
from enqueued.errors import ConnectTimeout, Refused
from enqueued.server.control import Commands
from enqueued.stats import GroupStats
from enqueued.wire.control import CONTROL, GROUPS, MOST_BYTES, RESET, RM, Request, pack_answer
from serving import Serving, run
from waiting import until

COUNTING = ("--sequence", "sources.counting:Counting", "--workers", "1")
NOBODY = 65534
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="ANOTHER USER IS NOT TRIED HERE: only root can become one")


def path_of(daemon: Serving) -> str:
    """The path of the daemon's control socket."""
    return daemon.endpoint.removeprefix("ipc://") + CONTROL


@contextmanager
def connected(daemon: Serving) -> Iterator[socket.socket]:
    """A bare connection to the control socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(10.0)
        sock.connect(path_of(daemon))
        yield sock


@contextmanager
def another_user() -> Iterator[None]:
    """This process as somebody else, to the kernel; the socket tells the effective user."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def heard(sock: socket.socket) -> Any:
    """What the daemon says, or None when it has closed."""
    data = sock.recv(MOST_BYTES + 1)
    return msgpack.unpackb(data) if data else None


def test_only_the_daemons_user_may_connect() -> None:
    """The mode is 0600 whatever the other sockets have."""
    with Serving(*COUNTING, "--socket-mode", "0666") as daemon:
        daemon.ready()
        assert stat.S_IMODE(os.stat(daemon.endpoint.removeprefix("ipc://")).st_mode) == 0o666
        assert stat.S_IMODE(os.stat(path_of(daemon)).st_mode) == 0o600


@needs_root
def test_another_user_is_told_whose_the_daemon_is() -> None:
    """The kernel refuses, and the error says who may and what was tried."""
    with Serving(*COUNTING) as daemon:
        daemon.ready()
        daemon.folder.chmod(0o755)
        with another_user(), pytest.raises(ConnectTimeout, match="another user's, and only root may") as refused:
            Control(daemon.endpoint)
        assert daemon.endpoint in str(refused.value)


@needs_root
def test_another_user_is_refused_even_when_the_file_lets_him_in() -> None:
    """The peer's user is looked at, too."""
    with Serving(*COUNTING) as daemon:
        daemon.ready()
        daemon.folder.chmod(0o755)
        os.chmod(path_of(daemon), 0o666)
        with another_user(), Control(daemon.endpoint) as control, pytest.raises(Refused, match=f"you are uid {NOBODY}"):
            control.groups()
        with Control(daemon.endpoint) as control:
            assert control.groups() == []


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (b"\xc1", "not msgpack"),
        (b"\x93", "not msgpack"),
        (msgpack.packb([1, 2]), "is a map"),
        (msgpack.packb({"verb": "dance"}), "there is no request 'dance'"),
        (msgpack.packb({"verb": ["groups"]}), "there is no request"),
        (msgpack.packb({"verb": "groups", "first": -1}), "first is"),
        (msgpack.packb({"verb": "groups", "stream": 3}), "stream is 1 to 64"),
        (msgpack.packb({"verb": "reset", "epoch": 1, "index": 1}), "needs the name of a group"),
        (msgpack.packb({"verb": "reset", "group": "g", "epoch": 1 << 40}), "is no position"),
        (msgpack.packb({"verb": "reload", "at_once": 1}), "at_once is"),
        (msgpack.packb({"verb": "x" * MOST_BYTES}), "more than 65536 bytes"),
    ],
)
def test_garbage_is_answered_and_the_connection_closed(serving: Serving, packet: bytes, why: str) -> None:
    """An error says what was wrong, then comes the end; the daemon goes on."""
    with connected(serving) as sock:
        sock.send(packet)
        assert why in heard(sock)["error"]
        assert heard(sock) is None
    with Control(serving.endpoint) as control:
        assert control.groups() == []


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    """One daemon for what leaves no trace in it."""
    with Serving(*COUNTING) as daemon:
        yield daemon.ready()


def test_sixteen_may_be_connected(serving: Serving) -> None:
    """One more is told so; when somebody leaves there is room again."""
    controls = [Control(serving.endpoint) for _ in range(16)]
    try:
        assert all(control.groups() == [] for control in controls)
        with Control(serving.endpoint) as late, pytest.raises(Refused, match="16 others are connected"):
            late.groups()
        controls.pop().close()

        def let_in() -> bool:
            with Control(serving.endpoint) as again:
                try:
                    return again.groups() == []
                except Refused:
                    return False

        until(let_in, within=5)
    finally:
        for control in controls:
            control.close()


def test_who_does_not_read_holds_up_nobody(serving: Serving) -> None:
    """A peer that only asks is closed when its answers have nowhere to go, and others are served meanwhile."""
    with connected(serving) as deaf:
        deaf.setblocking(False)
        packet = Request(GROUPS).pack()

        def is_closed() -> bool:
            try:
                while True:
                    deaf.send(packet)
            except BlockingIOError:
                return False
            except OSError:
                return True

        until(is_closed, within=10)
    with Control(serving.endpoint) as control:
        assert control.groups() == []


def test_an_unknown_stream_and_an_unknown_group_are_refused(serving: Serving) -> None:
    """The error names the known ones, and the connection stays."""
    with Control(serving.endpoint) as control, serving.client(group="sweep"):
        with pytest.raises(Refused, match="no stream 'val' here; this daemon serves 'default'"):
            control.groups("val")
        for verb in (RESET, RM):
            with pytest.raises(Refused, match="sweep"):
                control.ask(Request(verb, group="weep"))
        with pytest.raises(Refused, match="client"):
            control.ask(Request(RM, group="sweep"))


def test_a_socket_that_a_killed_daemon_left_is_replaced() -> None:
    """Asking meanwhile says that nobody listens."""
    with Serving(*COUNTING) as daemon:
        daemon.ready()
        daemon.kill()
        assert Path(path_of(daemon)).is_socket()
        with pytest.raises(ConnectTimeout, match="no daemon listens to it"):
            Control(daemon.endpoint)
        daemon.start()

        def asked() -> bool:
            try:
                with Control(daemon.endpoint) as control:
                    return control.groups() == []
            except ConnectTimeout:
                return False

        until(asked, within=20)


def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    """Binding would remove it."""
    (tmp_path / "x.sock.control").write_text("precious")
    result = run("serve", "--endpoint", f"ipc://{tmp_path}/x.sock", *COUNTING)
    assert result.returncode == 2
    assert "is no socket" in result.stderr
    assert (tmp_path / "x.sock.control").read_text() == "precious"


def test_groups_are_listed_with_members_and_without() -> None:
    """Private ones, named ones, and those that are only remembered."""
    with Serving(*COUNTING) as daemon, Control(daemon.ready().endpoint) as control:
        with daemon.client(group="left") as client:
            batches = client.batches()
            next(batches)
            next(batches)
        with daemon.client(), daemon.client(group="sweep"), daemon.client(group="sweep"):
            until(lambda: len(control.groups()) == 3, within=5)
            rows = {row["name"]: row for row in control.groups()}
            assert rows["sweep"]["kind"] == "split"
            assert rows["sweep"]["members"] == 2
            assert rows["left"]["remembered"]
            assert rows["left"]["members"] == 0
            assert rows["left"]["epoch"] == 0
            assert rows["left"]["index"] - rows["left"]["leases"] == 2  # what it was sent and did not take is to come
            assert [row["kind"] for row in rows.values()].count("private") == 1


def test_the_lag_is_behind_the_foremost() -> None:
    """In batches, also over the end of an epoch; a group that holds batches has leases."""
    with Serving(*COUNTING) as daemon, daemon.client(group="far") as far, Control(daemon.endpoint) as control:
        batches = far.batches()
        while next(batches).position != (1, 3):
            pass
        with daemon.client(group="near"):
            until(lambda: len(control.groups()) == 2, within=5)
            rows = {row["name"]: row for row in control.groups()}
            assert rows["far"]["lag"] == 0
            assert rows["far"]["leases"] >= 1
            assert rows["near"]["lag"] == 20 + rows["far"]["index"]
            assert rows["near"]["leases"] == 0


def test_ranks_are_listed_one_by_one() -> None:
    """They wait for who is not there; such a group is moved by what its trainers load, and by nobody else."""
    with (
        Serving(*COUNTING) as daemon,
        daemon.client(group="ddp", rank=0, world_size=2),
        Control(daemon.endpoint) as control,
    ):
        rows = until(control.groups, within=5)
        assert [(row["name"], row["kind"], row["rank"], row["world_size"], row["members"]) for row in rows] == [
            ("ddp", "ranks", 0, 2, 1),
            ("ddp", "ranks", 1, 2, 0),
        ]
        assert "rank 1, which is not there" in rows[0]["waits_for"]
        with pytest.raises(Refused, match="stop its trainers first"):
            control.ask(Request(RESET, None, "ddp", 0, 4))
        with pytest.raises(Refused, match="has members"):
            control.ask(Request(RM, group="ddp"))


def test_a_streamed_source_is_not_reset_to_what_is_gone() -> None:
    """It only goes forward; the group stays where it is."""
    with (
        Serving("--generator", "sources.counting:count_up", "--arg", "length=500") as daemon,
        daemon.client(group="sweep") as client,
        Control(daemon.endpoint) as control,
    ):
        batches = client.batches()
        for _ in range(100):
            next(batches)
        with pytest.raises(Refused, match="is gone: it only goes forward"):
            control.ask(Request(RESET, None, "sweep", 0, 1))
        assert next(batches).position == (0, 100)


def test_a_living_group_that_is_reset_goes_on_there() -> None:
    """In mid-epoch; its clients connect again by themselves, and share what follows the new place, each batch once."""
    with (
        Serving(*COUNTING, "--arg", "length=200") as daemon,
        daemon.client(group="sweep") as one,
        daemon.client(group="sweep") as two,
        Control(daemon.endpoint) as control,
    ):
        middle, go_on = threading.Barrier(3), threading.Event()
        seen: list[tuple[int, int]] = []

        def train(client: Client) -> None:
            for number, batch in enumerate(client.batches()):
                seen.append(batch.position)
                if number == 5:
                    middle.wait(20)
                    assert go_on.wait(20)
                if batch.epoch > 0:
                    return

        trainers = [threading.Thread(target=train, args=(client,)) for client in (one, two)]
        for trainer in trainers:
            trainer.start()
        middle.wait(20)
        assert control.ask(Request(RESET, None, "sweep", 0, 150)) == {"stream": "default", "members": 2}
        go_on.set()
        for trainer in trainers:
            trainer.join(30)
            assert not trainer.is_alive()
        assert sorted(index for epoch, index in seen if epoch == 0 and index >= 150) == list(range(150, 200))
        assert max(index for epoch, index in seen if epoch == 0 and index < 150) < 30


def test_a_remembered_group_is_reset_and_removed() -> None:
    """Whoever comes back to it stands where it was put, and after it was removed at the beginning."""
    with Serving(*COUNTING) as daemon, Control(daemon.ready().endpoint) as control:
        with daemon.client(group="sweep") as client:
            next(client.batches())
        until(lambda: [row["remembered"] for row in control.groups()] == [True], within=5)
        assert control.ask(Request(RESET, None, "sweep", 3, 17)) == {"stream": "default", "members": 0}
        assert [(row["epoch"], row["index"]) for row in control.groups()] == [(3, 17)]
        with daemon.client(group="sweep", start="stored") as client:
            assert next(client.batches()).position == (3, 17)
        until(lambda: [row["remembered"] for row in control.groups()] == [True], within=5)
        assert control.ask(Request(RM, group="sweep")) == {"stream": "default"}
        assert control.groups() == []
        with pytest.raises(Refused, match="sweep"):
            control.ask(Request(RM, group="sweep"))


def test_a_private_group_is_not_reset() -> None:
    """Its client alone says where it stands."""
    with Serving(*COUNTING) as daemon, daemon.client(), Control(daemon.endpoint) as control:
        until(lambda: len(control.groups()) == 1, within=5)
        with pytest.raises(Refused):
            control.ask(Request(RESET, None, "private", 0, 1))


def fakes(**groups: list[str]) -> Commands:
    """The commands over streams that have groups of these names, and do nothing else."""
    feeds = {}
    for stream, names in groups.items():
        stats = SimpleNamespace(groups=[GroupStats(name, False, 1, 2, 3, 0, ()) for name in names])
        core = SimpleNamespace(groups={}, remembered={}, teams={}, forget=lambda group: None)
        feeds[stream] = SimpleNamespace(name=stream, ready=True, stream=core, stats=lambda _, stats=stats: stats)
    return Commands(feeds, SimpleNamespace(describe=None))  # type: ignore[arg-type] # they do what is used here


def test_a_long_list_comes_in_several_answers() -> None:
    """Each fits a packet, none is left out."""
    commands = fakes(train=[f"group-{number:04}-{'x' * 50}" for number in range(1000)])
    found: list[str] = []
    answers = 0
    while True:
        value: Any = commands.obey(Request(GROUPS, first=len(found)))
        assert len(pack_answer(value)) <= MOST_BYTES
        found += [row["name"] for row in value["groups"]]
        answers += 1
        if len(found) == value["total"]:
            break
    assert len(set(found)) == 1000
    assert answers > 1


def test_a_group_is_found_in_the_stream_that_has_it() -> None:
    """The stream need not be named, unless two have such a group."""
    commands = fakes(train=["sweep", "both"], val=["check", "both"])
    assert commands.obey(Request(RM, group="check")) == {"stream": "val"}
    assert commands.obey(Request(RM, stream="train", group="both")) == {"stream": "train"}
    with pytest.raises(Refused, match="'train', 'val' have a group 'both' each: say which"):
        commands.obey(Request(RM, group="both"))
    with pytest.raises(Refused, match="no group 'none' in any stream; there are 'sweep', 'both', 'check'"):
        commands.obey(Request(RM, group="none"))
