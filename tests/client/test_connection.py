"""Finding a daemon, losing it, and what a client says about it."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from enqueued import Client
from enqueued.codec.spec import LeafSpec
from enqueued.errors import BatchTimeout, ClosedClient, ConnectTimeout, Refused
from enqueued.wire.hello import Hello
from gate import Gate
from serving import Serving
from trainer import Trainer
from waiting import until

LARGE = ("--sequence", "sources.sized:Large", "--workers", "2", "--max-queue-size", "4", "--arg", "length=30")


def number(batch: Any) -> int:
    """The number that a batch tells, its bytes compared with it."""
    data, told = batch
    assert (data == int(told) % 251).all()
    return int(told)


def test_the_error_lists_every_place_and_what_is_wrong_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order in which they were tried, with the daemons that are there under other names."""
    monkeypatch.delenv("ENQUEUED_ENDPOINT", raising=False)
    runtime, private = tmp_path / "run", tmp_path / "xdg" / "enqueued"
    for folder in (runtime, private):
        folder.mkdir(parents=True, mode=0o700)
    # not the folders of this machine, where somebody's daemon may serve
    monkeypatch.setattr("enqueued.wire.places.folders", lambda environ: [runtime, private, tmp_path / "none"])
    with Serving(*LARGE, expect=None) as daemon:
        daemon.ready().kill()
        for suffix in ("", ".fds", ".control"):
            os.rename(f"{daemon.folder}/d.sock{suffix}", private / f"default.sock{suffix}")
    with Serving(*LARGE, "--endpoint", f"ipc://{runtime}/other.sock") as daemon:
        daemon.ready()
        with pytest.raises(ConnectTimeout) as caught:
            Client(connect_timeout=0.2)
    lines = str(caught.value).splitlines()
    assert lines[0] == "no daemon answered within 0.2 s. Tried:"
    assert lines[1] == f"  ipc://{runtime}/default.sock: there is no socket"
    assert lines[2] == f"  ipc://{private}/default.sock: a socket is left, but no daemon listens to it"
    assert lines[3] == f"  ipc://{tmp_path}/none/default.sock: there is no socket"
    assert f"ENQUEUED_ENDPOINT=ipc://{runtime}/other.sock" in str(caught.value)
    assert "enqueued serve" in lines[-1]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("way", ["folder", "socket"])
def test_a_user_who_may_not_connect_is_told_so(way: str) -> None:
    """Whether it is the folder or the socket that keeps him out."""
    with Serving(*LARGE) as daemon, Trainer(uid=65534) as trainer:
        daemon.ready()
        if way == "socket":
            os.chmod(daemon.folder, 0o755)
        error, text = trainer.ask(f"Client({daemon.endpoint!r}, connect_timeout=0.2)")
        assert error == "ConnectTimeout"
        expected = {"folder": "cannot be reached: Permission denied", "socket": "this user may not connect"}
        assert expected[way] in text


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_user_who_is_let_in_is_served() -> None:
    """With --socket-mode 666 another user trains as well."""
    with Serving(*LARGE, "--socket-mode", "666") as daemon, Trainer(uid=65534) as trainer:
        daemon.ready()
        os.chmod(daemon.folder, 0o755)
        code = f"[int(number) for data, number in Client({daemon.endpoint!r}) if (data == int(number) % 251).all()]"
        assert trainer(code) == list(range(30))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_folder_that_may_not_be_looked_into_is_a_reason(tmp_path: Path) -> None:
    """As another user's runtime folder: it is told, and not raised as what it is."""
    tmp_path.chmod(0o700)
    with Trainer(uid=65534) as trainer:
        kind, text = trainer.ask(f"Client('ipc://{tmp_path}/enqueued/d.sock', connect_timeout=0.2)")
    assert kind == "ConnectTimeout"
    assert "the socket cannot be reached: Permission denied" in text


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder for another user")
def test_a_folder_that_others_can_write_to_is_not_trusted(tmp_path: Path) -> None:
    """Somebody else's socket could lie there."""
    os.chmod(tmp_path, 0o777)
    (tmp_path / "default.sock").touch()
    with pytest.raises(ConnectTimeout, match="everybody may write"):
        Client(f"ipc://{tmp_path}/default.sock", connect_timeout=0.1)


def test_a_client_waits_for_a_daemon_that_comes_later() -> None:
    """Trainer and daemon may be started in either order."""
    with Serving(*LARGE) as daemon:
        daemon.ready().stop()
        with Trainer() as trainer:
            trainer.tell(f"[int(number) for _, number in Client({daemon.endpoint!r}).steps(3)]")
            daemon.start()
            assert trainer.answer() == ("ok", [0, 1, 2])


def test_a_client_waits_for_a_source_that_is_loading(tmp_path: Path) -> None:
    """Longer than for a daemon, because it is there; and a question for stats is answered meanwhile."""
    with (
        Gate(tmp_path / "gate") as gate,
        Serving("--sequence", "sources.sized:gated_loading", "--arg", f"gate={gate.path}") as daemon,
        Trainer() as trainer,
    ):
        until(lambda: os.path.exists(f"{daemon.folder}/d.sock.fds"), 20)
        trainer.tell(f"client = Client({daemon.endpoint!r}, connect_timeout=1.0)")
        assert not trainer.answers(within_s=1.5)  # which is longer than connect_timeout
        assert daemon.stream_stats()["verdict"] == "loading"
        gate.open()
        assert trainer.answer() == ("ok", None)
        assert trainer("[int(number) for _, number in client]") == list(range(5))


def test_a_stream_that_is_not_there_is_refused() -> None:
    """The error names those that are."""
    with Serving(*LARGE) as daemon:
        daemon.ready()
        with pytest.raises(Refused, match="no stream 'val' here; this daemon serves 'default'"):
            daemon.client(f"{daemon.endpoint}/val")
        with pytest.raises(Refused, match="group is 1 to 64 letters"):
            daemon.client(group="two words")
        with daemon.client(f"{daemon.endpoint}/default") as client:
            assert number(next(iter(client))) == 0


@pytest.mark.parametrize("where", [0, 1], ids=["ipc", "tcp"])
def test_a_private_client_goes_on_where_it_was(where: int) -> None:
    """The daemon is killed and started again: nothing is lost, nothing comes twice, all in order."""
    with Serving(*LARGE, "--bind", "tcp://127.0.0.1:*") as daemon:
        address = daemon.ready().stats()["endpoints"][where]
        daemon._flags = (*LARGE, "--bind", address if where else "tcp://127.0.0.1:*")
        with daemon.client(address, prefetch=3) as client:
            taken, kept = [], []
            for position, batch in enumerate(client.batches()):
                taken.append(batch.position)
                kept.append(batch.data)
                if position in (4, 29, 44):
                    daemon.kill()
                    daemon.start()
                if position == 70:
                    break
            assert taken == [divmod(i, 30) for i in range(71)]
            assert [number(one) for one in kept] == [i % 30 for i in range(71)]
            assert [number(one) for one in client] == list(range(30))
            assert client.epoch == 4


def test_a_loss_between_two_epochs_is_none() -> None:
    """The daemon goes when an epoch was taken to its last batch, or to its end."""
    with Serving(*LARGE) as daemon, daemon.client() as client:
        assert [number(one) for one in client] == list(range(30))
        daemon.kill()
        daemon.start()
        epoch = iter(client)
        assert [number(next(epoch)) for _ in range(30)] == list(range(30))
        assert client.epoch == 1
        daemon.kill()
        daemon.start()
        assert [number(one) for one in client] == list(range(30))
        assert client.epoch == 3
        daemon.kill()
        daemon.start()
        assert client.stats()["clients"] == 1
        daemon.kill()
        daemon.start()
        assert isinstance(client.spec, tuple)
        for batch in client:
            if number(batch) == 3:
                break
        daemon.kill()
        daemon.start()
        assert [number(one) for one in client] == list(range(30))
        assert client.epoch == 5


def test_a_group_loses_nothing_with_its_daemon() -> None:
    """When all its members come back nothing comes twice either, for they tell what they have had."""
    with Serving(*LARGE) as daemon, daemon.client(group="g") as one, daemon.client(group="g") as other:
        taken = [one.batches(), other.batches()]
        seen = [next(taken[i % 2]).index for i in range(10)]
        daemon.kill()
        daemon.start()
        with ThreadPoolExecutor(2) as pool:
            rest = list(pool.map(lambda client: [number(batch) for batch in client], (one, other)))
        assert sorted(seen + rest[0] + rest[1]) == list(range(30))
        assert (one.epoch, other.epoch) == (1, 1)


def test_what_a_dead_member_held_comes_again_and_is_marked() -> None:
    """Its unacknowledged positions go to the others, and the epoch does not end without them."""
    with Serving(*LARGE) as daemon, daemon.client(group="g", prefetch=1) as client, Trainer() as trainer:
        trainer(f"client = Client({daemon.endpoint!r}, group='g', prefetch=3); taken = client.batches()")
        mine = client.batches()
        seen = [next(mine)]
        theirs = [trainer("next(taken).index") for _ in range(3)]
        trainer.kill()
        while seen[-1].epoch == 0:
            seen.append(next(mine))
        last = seen.pop()
        assert last.position == (1, 0)
        indices = [batch.index for batch in seen]
        again = [batch.index for batch in seen if batch.redelivered]
        assert len(indices) == len(set(indices))
        assert set(range(30)) - set(indices) <= set(theirs[:2])  # those that it had acknowledged
        assert set(indices) & set(theirs) <= set(again)
        assert theirs[2] in again
        assert [index for index in indices if index not in again] == sorted(set(indices) - set(again))
        assert daemon.stream_stats()["groups"][0]["redelivered"] == len(again)


def test_a_daemon_that_is_gone_for_good_is_given_up() -> None:
    """After `connect_timeout`, each time the client is used again; arrays stay."""
    with Serving(*LARGE) as daemon, daemon.ready().client(connect_timeout=0.3) as client:
        taken = iter(client)
        kept = next(taken)
        daemon.stop()
        for use in (lambda: list(taken), client.stats, lambda: client.spec, lambda: list(client)):
            with pytest.raises(ConnectTimeout, match="no socket"):
                use()
        assert number(kept) == 0
        daemon.start()
        until(lambda: os.path.exists(f"{daemon.folder}/d.sock.fds"), 20, "a daemon is there again")
        assert number(next(client.steps(1))) == 0
        assert client.epoch == 1


def test_a_batch_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    """The error says what is waited for, and the batch is not lost: it comes when it is there."""
    source = ("--sequence", "sources.sized:Gated", "--arg", f"gate={tmp_path}/gate", "--arg", "free=1")
    with (
        Gate(tmp_path / "gate") as gate,
        Serving(*source, "--workers", "1") as daemon,
        daemon.client(batch_timeout=0.3) as client,
    ):
        taken = iter(client)
        next(taken)
        for _ in range(2):
            expected = r"no batch within 0.3 s, waiting for 0:1: 1 workers? busy, the slowest for \d+ s at 0:1"
            with pytest.raises(BatchTimeout, match=expected):
                next(taken)
        gate.open()
        assert int(next(taken)[1]) == 1


def test_a_spec_is_known_without_taking_a_batch() -> None:
    """Structure, shapes and dtypes; nothing is taken by asking."""
    with Serving(*LARGE) as daemon, daemon.client() as client:
        data, told = client.spec
        assert data == LeafSpec((200_000,), np.dtype(np.uint8))
        assert told == LeafSpec((), np.dtype(np.int64))
        assert client.step == 0
        assert number(next(iter(client))) == 0


def test_a_spec_that_no_batch_was_made_for_is_given_up(tmp_path: Path) -> None:
    """It tells of the first batch, so there must be one."""
    flags = ("--sequence", "sources.sized:Gated", "--arg", f"gate={tmp_path}/gate", "--graceful-timeout", "0.1")
    with Gate(tmp_path / "gate") as gate, Serving(*flags, expect=None) as daemon:
        with daemon.client(batch_timeout=0.3) as client, pytest.raises(BatchTimeout, match="made no batch yet"):
            client.spec  # noqa: B018 - asking is the point
        gate.open()


def test_stats_and_repr_tell_of_the_stream() -> None:
    """And a client that is closed says so."""
    with Serving(*LARGE) as daemon, daemon.client() as client:
        assert client.stats()["streams"][0]["source"] == "sources.sized:Large"
        next(iter(client))
        assert repr(client) == f"<Client of 'default' at {daemon.endpoint}, 0:1>"
        client.close()
        client.close()
        assert repr(client) == "<Client, closed>"
        for use in (lambda: iter(client), client.stats, lambda: next(client.batches())):
            with pytest.raises(ClosedClient):
                use()
        assert len(client) == 30


def test_one_daemon_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ENQUEUED_ENDPOINT` says where; an argument without :// is a stream's name there."""
    with Serving(*LARGE) as daemon:
        monkeypatch.setenv("ENQUEUED_ENDPOINT", daemon.endpoint)
        with Client() as client, Client("default", start="live") as other:
            assert number(next(iter(client))) == 0
            assert re.fullmatch(r"<Client of 'default' at .*, 0:\d+>", repr(other))


def test_one_that_waits_is_not_taken_for_others_that_left(tmp_path: Path) -> None:
    """Its connection may have the number of one that has just ended."""
    flags = ("--sequence", "sources.sized:gated_loading", "--arg", f"gate={tmp_path}/gate")
    with (
        Gate(tmp_path / "gate") as gate,
        Serving(*flags) as daemon,
        zmq.Context() as context,
        ThreadPoolExecutor(8) as pool,
    ):
        until(lambda: (daemon.folder / "d.sock.fds").exists(), 20, "the daemon listens")
        for _ in range(40):
            with context.socket(zmq.DEALER) as passing:
                passing.setsockopt(zmq.LINGER, 0)
                passing.connect(daemon.endpoint)
                passing.send(Hello().pack())
                assert passing.poll(10_000)
        waiting = [pool.submit(daemon.client) for _ in range(8)]
        until(lambda: daemon.stats()["clients"] == 0, 10, "the daemon answers")
        gate.open()
        for one in waiting:
            one.result(20).close()
