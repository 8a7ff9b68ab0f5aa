"""What a client says when it begins a session, and when it comes back to one; seen by a fake daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from enqueued import Client
from enqueued.errors import ConfigError, ProtocolError, Refused, StateMismatch
from fake_daemon import FakeDaemon, encoded, frames, honest
from waiting import until

SMALL = encoded(np.arange(3))
PRINT = {"kind": "sequence", "seed": 1, "args": {"size": "224"}, "length": 5}
CLAIM = ("group", "start", "rank", "world_size", "tail", "base", "origin", "taken", "missing", "returning",
         "generation", "held", "acked", "canary")  # fmt: skip


def client_of(daemon: FakeDaemon, **arguments: Any) -> Client:
    """A client that does not wait for ever."""
    return Client(daemon.endpoint, connect_timeout=10.0, **{"batch_timeout": 10.0, **arguments})


def sessions(*items: list[list[int]]) -> Callable[[FakeDaemon, list[Any]], None]:
    """Sends these to one session after another when it gives credit."""
    left = list(items)

    def reply(daemon: FakeDaemon, message: list[Any]) -> None:
        batches = left.pop(0) if left else []
        daemon.send("BATCHES", batches, [], frames=(SMALL,) * sum(item[0] == 1 for item in batches))

    return reply


def claims(daemon: FakeDaemon) -> list[dict[str, Any]]:
    """What was claimed in each session."""
    return [{key: hello[key] for key in CLAIM if hello.get(key) is not None} for hello in daemon.hellos]


def state_of(position: tuple[int, int], **more: Any) -> dict[str, Any]:
    """A saved state of the fake stream."""
    return {"version": 1, "fingerprint": PRINT, "epoch": position[0], "index": position[1], **more}


def test_a_private_client_comes_back_to_just_where_it_was() -> None:
    """What it was given and had yielded counts as had."""
    reply = sessions(frames((0, 0)), frames((0, 1), (0, 2)))
    with FakeDaemon(reply, welcome=honest()) as daemon, client_of(daemon) as client:
        taken = client.batches()
        assert next(taken).position == (0, 0)
        daemon.send("GONE", "restart")
        assert next(taken).position == (0, 1)
        assert next(taken).position == (0, 2)
        assert claims(daemon)[1] == {"start": [0, 1]}


def test_batches_that_came_out_of_order_are_named() -> None:
    """So that they do not come again; the state has them, too."""
    reply = sessions(frames((0, 2), (0, 0), (0, 4)), frames((0, 1), (0, 3)))
    welcome = honest(reorder_window=4, fingerprint=PRINT)
    with FakeDaemon(reply, welcome=welcome, answers={"canary": "00ff"}) as daemon, client_of(daemon) as client:
        taken = client.batches()
        assert [next(taken).position for _ in range(3)] == [(0, 2), (0, 0), (0, 4)]
        state = client.state_dict()
        assert (state["epoch"], state["index"], state["ahead"]) == (0, 1, [[0, 2], [0, 4]])
        daemon.send("GONE", "restart")
        assert [next(taken).position for _ in range(2)] == [(0, 1), (0, 3)]
        assert claims(daemon)[1] == {"start": [0, 1], "taken": [[0, 2], [0, 4]]}
        assert client.state_dict()["epoch"] == 1
        client.load_state_dict(state)
        assert claims(daemon)[-1] == {"start": [0, 1], "taken": [[0, 2], [0, 4]], "canary": [0, "00ff"]}


def test_a_batch_beyond_the_reorder_window_was_not_meant() -> None:
    """Something was lost on the way, so it is asked for again."""
    reply = sessions(frames((0, 3)), frames((0, 0)))
    welcome = honest(reorder_window=2)
    with FakeDaemon(reply, welcome=welcome) as daemon, client_of(daemon) as client:
        assert next(client.batches()).position == (0, 0)
        assert claims(daemon)[1] == {"start": [0, 0]}


def test_an_end_that_comes_too_early_is_not_believed() -> None:
    """The batch before it was lost on the way."""
    reply = sessions([*frames((0, 0), (0, 1), (0, 2), (0, 3)), [3, 0, 0, 5]], [*frames((0, 4)), [3, 0, 0, 5]])
    with FakeDaemon(reply, welcome=honest()) as daemon, client_of(daemon) as client:
        assert len(list(client)) == 5
        assert claims(daemon)[1] == {"start": [0, 4]}


def test_a_rank_begins_where_the_daemon_says() -> None:
    """And names its group, its number and the way to end an epoch."""
    with FakeDaemon(welcome=honest(base=[0, 0])) as daemon:
        client_of(daemon, rank=1, world_size=2).close()
        client_of(daemon, rank=0, world_size=1, group="g", tail="pad", start="stored").close()
        client_of(daemon, rank=1, world_size=2, fixed_epoch=3).close()
        assert claims(daemon) == [
            {"group": "ranks", "rank": 1, "world_size": 2},
            {"group": "g", "rank": 0, "tail": "pad", "start": "stored"},
            {"group": "ranks", "rank": 1, "world_size": 2, "start": [3, 1], "base": [3, 0]},
        ]


def test_a_rank_comes_back_to_its_own_next_position() -> None:
    """With the base of the epoch that it is in: of the run first, then of the epoch's beginning."""
    reply = sessions(
        frames((2, 11)), [*frames((2, 13)), *frames((2, 0), lease=1, flags=2), [3, 0, 2, 15]], frames((3, 1)), []
    )
    with FakeDaemon(reply, welcome=honest(length=15, fingerprint=PRINT), answers={"canary": "00"}) as daemon:
        with client_of(daemon, rank=1, world_size=2, tail="pad", state=state_of((2, 10))) as client:
            taken = client.batches()
            assert next(taken).position == (2, 11)
            daemon.send("GONE", "restart")
            assert next(taken).position == (2, 13)
            assert client.state_dict()["index"] == 14
            pad = next(taken)
            assert (pad.position, pad.padded) == ((2, 0), True)
            assert client.state_dict()["epoch"] == 3
            daemon.send("GONE", "restart")
            assert next(taken).position == (3, 1)
            daemon.send("GONE", "restart")
            client._subscription.ask("stats")
        ours = {"group": "ranks", "rank": 1, "world_size": 2, "tail": "pad", "origin": [2, 10]}
        assert claims(daemon)[1] == ours | {"start": [2, 11], "base": [2, 10]}
        ours["returning"] = True
        assert claims(daemon)[2:] == [
            ours | {"start": [2, 13], "base": [2, 10]},
            ours | {"start": [3, 1], "base": [3, 0]},
            ours | {"start": [3, 3], "base": [3, 0]},
        ]


def test_a_rank_that_broke_off_is_at_an_epochs_beginning() -> None:
    """Where the steps count from 0 again."""
    with FakeDaemon(sessions(frames((2, 11))), welcome=honest(length=15, fingerprint=PRINT)) as daemon:
        with client_of(daemon, rank=1, world_size=2, state=state_of((2, 10))) as client:
            next(iter(client))
            iter(client)
            until(lambda: ["SEEK", 1, 3, 0] in daemon.heard)
            daemon.send("GONE", "restart")
            client._subscription.ask("stats")
        assert claims(daemon)[-1] == {
            "group": "ranks", "rank": 1, "world_size": 2, "origin": [2, 10], "start": [3, 1], "base": [3, 0],
            "returning": True,
        }  # fmt: skip


def test_a_member_says_what_it_holds_and_what_it_acknowledged() -> None:
    """Until that is on disk; the batch that it works on is its first lease then."""
    reply = sessions(frames((0, 0), (0, 2), (0, 4), (0, 6), generation=7), frames((0, 8), lease=1, generation=7), [])
    welcome = honest(generation=7)
    with FakeDaemon(reply, welcome=welcome) as daemon, client_of(daemon, group="g", prefetch=1) as client:
        taken = client.batches()
        held = [next(taken) for _ in range(4)][-1]
        daemon.send("STABLE", 2)
        until(lambda: ["TAKE", [[2, 1]], []] in daemon.heard)
        daemon.send("GONE", "restart")
        client._subscription.ask("stats")
        member = {"group": "g", "start": [0, 0], "returning": True}
        assert claims(daemon)[1] == member | {"generation": 7, "held": [[0, 6]], "acked": [[0, 4]]}
        held.done()
        until(lambda: ["TAKE", [[0, 1]], []] in daemon.heard[-1:])
        assert next(taken).position == (0, 8)
        daemon.send("GONE", "restart")
        client._subscription.ask("stats")
        assert claims(daemon)[2] == member | {"generation": 7, "held": [[0, 8]], "acked": [[0, 4], [0, 6]]}


def test_a_member_of_a_group_that_was_reset_begins_anew() -> None:
    """Another generation: what it held and acknowledged is void, and no lease of the new session."""
    generations = iter((7, 8, 8))

    def welcome(hello: dict[str, Any]) -> dict[str, Any]:
        return {**honest()(hello), "generation": next(generations)}

    reply = sessions(frames((0, 0), (0, 2), generation=7), frames((0, 0), generation=8))
    with FakeDaemon(reply, welcome=welcome) as daemon, client_of(daemon, group="g") as client:
        taken = client.batches()
        held = [next(taken), next(taken)][-1]
        daemon.send("GONE", "reset")
        client._subscription.ask("stats")
        held.done()
        assert next(taken).position == (0, 0)
        daemon.send("GONE", "restart")
        client._subscription.ask("stats")
        told = [{key: claim.get(key) for key in ("generation", "held", "acked")} for claim in claims(daemon)[1:]]
        assert told[0] == {"generation": 7, "held": [[0, 2]], "acked": [[0, 0]]}
        assert told[1] == {"generation": 8, "held": [[0, 0]], "acked": None}
        assert [message[1:] for message in daemon.heard if message[0] == "TAKE"] == [[[[0, 1]], []]]


def test_a_members_state_is_the_groups() -> None:
    """It asks where that stands; what it has yielded is acknowledged before."""
    group = {"epoch": 1, "index": 4, "missing": [[1, 2]]}
    answers = {"group": group, "canary": "00ff"}
    welcome = honest(fingerprint=PRINT)
    with FakeDaemon(sessions(frames((1, 3))), welcome=welcome, answers=answers) as daemon:
        with client_of(daemon, group="g") as client:
            next(client.batches())
            state = client.state_dict()
            verbs = [message[0] for message in daemon.heard if message[0] in ("TAKE", "ASK")]
            assert verbs == ["TAKE", "ASK", "ASK"]
            assert state == state_of((1, 4), missing=[[1, 2]], ahead=[], epochs_done=0, canary=[1, "00ff"])
            daemon.answers["group"] = {"epoch": 1, "index": None, "missing": []}
            with pytest.raises(Exception, match="does not say where group 'g' stands"):
                client.state_dict()
        with client_of(daemon, group="g", state=state) as client:
            daemon.send("GONE", "restart")
            client._subscription.ask("stats")
        assert claims(daemon)[2:] == [
            {"group": "g", "start": [1, 4], "origin": [1, 4], "missing": [[1, 2]], "canary": [1, "00ff"]},
            {"group": "g", "start": [1, 0], "returning": True},
        ]


def test_a_daemon_that_comes_back_with_another_stream_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """The trainer goes on, and whoever reads its log knows."""
    prints = iter((PRINT, PRINT | {"seed": 2, "length": 6}))

    def welcome(hello: dict[str, Any]) -> dict[str, Any]:
        return {**honest()(hello), "fingerprint": next(prints)}

    with FakeDaemon(welcome=welcome) as daemon, client_of(daemon) as client:
        daemon.send("GONE", "restart")
        client._subscription.ask("stats")
    told = [record.message for record in caplog.records if "has changed" in record.message]
    assert told == [f"the stream has changed: {what}" for what in ("seed was 1 and is 2", "length was 5 and is 6")]


def test_a_state_of_another_stream_is_refused_by_name() -> None:
    """Before anything of it is asked for, and the client stays where it is."""
    was = PRINT | {"seed": 2, "args": {"size": "256"}}
    reply = sessions(frames((0, 0), (0, 1)))
    with FakeDaemon(reply, welcome=honest(fingerprint=PRINT)) as daemon, client_of(daemon) as client:
        taken = client.batches()
        next(taken)
        told = "from another stream: seed was 2 and is 1, args.size was 256 and is 224"
        with pytest.raises(StateMismatch, match=told):
            client.load_state_dict(state_of((3, 2)) | {"fingerprint": was})
        assert next(taken).position == (0, 1)
        with pytest.raises(Refused, match=told):
            client_of(daemon, state=state_of((3, 2)) | {"fingerprint": was})
        assert claims(daemon)[1:] == [{"start": "live"}] * 2


@pytest.mark.parametrize(
    ("was", "begins"), [({"seed": 2}, [3, 2]), ({"batch_size": 8, "seed": 2}, [3, 0]), ({"length": 6}, [3, 0])]
)
def test_a_state_of_another_stream_can_be_forced(
    was: dict[str, Any], begins: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning; at the epoch's beginning where an index names other data."""
    welcome = honest(fingerprint=PRINT | {"batch_size": 4})
    with FakeDaemon(welcome=welcome) as daemon, client_of(daemon) as client:
        client.load_state_dict(state_of((3, 2), canary=[3, "00"]) | {"fingerprint": PRINT | was}, strict=False)
        assert claims(daemon)[-1] == {"start": begins}
        warned = [record.message for record in caplog.records if "another stream" in record.message]
        assert len(warned) == 1
        assert f"{next(iter(was))} was" in warned[0]


def test_a_state_of_the_other_kind_of_group_is_refused() -> None:
    """What a split group has missing cannot be told by others, nor the other way round."""
    with FakeDaemon(welcome=honest(fingerprint=PRINT)) as daemon:
        with pytest.raises(ConfigError, match="this client is not one of such a group"):
            client_of(daemon, state=state_of((1, 4), missing=[]))
        with pytest.raises(ConfigError, match="the state is not of such a group"):
            client_of(daemon, group="g", state=state_of((1, 4)))
        with pytest.raises(ConfigError, match="stands in epoch 1, and fixed_epoch is 0"):
            client_of(daemon, fixed_epoch=0, state=state_of((1, 4)))
        assert daemon.hellos == []


def test_ranks_take_again_what_was_ahead(caplog: pytest.LogCaptureFixture) -> None:
    """They stay in order, so it comes twice, and that is said."""
    with FakeDaemon(welcome=honest(fingerprint=PRINT)) as daemon:
        client_of(daemon, rank=0, world_size=2, state=state_of((1, 4), ahead=[[1, 6]])).close()
        assert "taken" not in claims(daemon)[-1]
        assert "come again" in caplog.text


def test_a_daemon_that_begins_elsewhere_is_not_believed() -> None:
    """Neither for a client that sees all nor for a rank."""
    with FakeDaemon(welcome=honest(fingerprint=PRINT, index=5)) as daemon:
        for arguments in ({}, {"rank": 0, "world_size": 2}):
            with pytest.raises(ProtocolError, match="begins at 1:5 where 1:4 was asked for"):
                client_of(daemon, state=state_of((1, 4)), **arguments)


def test_a_streamed_source_has_no_fixed_epoch() -> None:
    """It cannot go back."""
    with FakeDaemon(welcome=honest(indexed=False)) as daemon:
        with pytest.raises(ConfigError, match="only goes forward"):
            client_of(daemon, fixed_epoch=0)
        until(lambda: ["BYE"] in daemon.heard)


def test_a_canary_is_asked_for_until_it_is_made() -> None:
    """Once for each epoch; a source that cannot make it has none, and a daemon that does not answer is an error."""
    answers: list[Any] = [None, None, "00ff"]
    asked: list[int] = []

    def canary(epoch: int) -> Any:
        asked.append(epoch)
        return answers.pop(0)

    reply = sessions([*frames((0, 0)), [3, 0, 0, 1], *frames((1, 0), lease=1)])
    welcome = honest(fingerprint=PRINT)
    with (
        FakeDaemon(reply, welcome=welcome, answers={"canary": canary}) as daemon,
        client_of(daemon, batch_timeout=1.0) as client,
    ):
        assert client.state_dict()["canary"] == [0, "00ff"]
        taken = client.batches()
        next(taken)
        assert client.state_dict()["canary"] == [0, "00ff"]
        assert asked == [0, 0, 0]
        next(taken)
        answers.append("error: no")
        assert client.state_dict()["canary"] is None
        daemon.answers["canary"] = None
        with pytest.raises(Exception, match=r"has not made batch 1:0 again within 1 s"):
            client.state_dict()
    with FakeDaemon(welcome=honest(indexed=False)) as daemon, client_of(daemon) as client:
        assert client.state_dict()["canary"] is None


def test_an_end_that_was_told_before_a_crash_does_not_count_again() -> None:
    """The daemon that was killed had not written that the epoch was over, so what it still owed comes again before."""
    reply = sessions(
        [*frames((0, 9)), [3, 0, 0, 10]], [*frames((0, 8), flags=1), [3, 0, 0, 10], *frames((1, 0), lease=1)]
    )
    with (
        FakeDaemon(reply, welcome=honest(length=10, fingerprint=PRINT)) as daemon,
        client_of(daemon, group="g") as client,
    ):
        epochs = client.epochs(2)
        assert len(list(next(epochs))) == 1
        daemon.send("GONE", "restart")
        second = next(epochs)
        assert [next(second)[0] is not None for _ in range(2)] == [True, True]
        assert client.epoch == 1
