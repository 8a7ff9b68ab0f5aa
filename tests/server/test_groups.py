"""Several groups on one stream: one make for all, nobody held up beyond the lag time, nothing lost with a host."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from itertools import islice

from enqueued import Client
from serving import Serving, numbers
from trainer import Trainer
from waiting import until

COUNTING = ("--sequence", "sources.counting:Counting", "--arg", "length=200", "--workers", "2")


@contextlib.contextmanager
def clients(daemon: Serving, count: int) -> Iterator[list[Client]]:
    """So many private clients."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(daemon.client()) for _ in range(count)]


def test_groups_that_keep_together_cost_one_make_for_each_position() -> None:
    """Four private clients and two that share a group: five deliveries of each batch, one make."""
    with (
        Serving(*COUNTING, "--max-queue-size", "16") as daemon,
        clients(daemon, 4) as private,
        daemon.client(group="g") as one,
        daemon.client(group="g") as other,
    ):
        takers = [client.batches() for client in (*private, *private, one, other)]
        for _ in range(40):
            for taker in takers:
                next(taker).done()
        stats = daemon.stream_stats()
        assert stats["delivered"] >= 5 * 80
        assert stats["made"] <= max(group["index"] for group in stats["groups"]) + 16 + 2


def test_who_leads_waits_for_who_moves_and_stats_name_him() -> None:
    """A leader stops at the edge of the queue as long as another takes batches now and then."""
    with Serving(*COUNTING, "--max-queue-size", "8") as daemon, daemon.client() as slow, Trainer() as quick:
        slowly = slow.batches()
        next(slowly)
        quick(f"client = Client({daemon.endpoint!r}, batch_timeout=60); batches = client.batches()")
        quick.tell("[next(batches).index for _ in range(30)]")

        def waiting() -> str:
            return "".join(group["waits_for"] for group in daemon.stream_stats()["groups"])

        until(waiting, 10, "the leader waits, and it is told for whom")
        assert "private client" in waiting()
        for _ in range(30):
            next(slowly)
        assert quick.answer() == ("ok", list(range(30)))


def test_who_has_stopped_is_not_waited_for_and_is_served_again() -> None:
    """After the lag time the others go on; what went by is made again for the one that comes back."""
    flags = ("--max-queue-size", "8", "--lag-timeout", "0.3")
    with Serving(*COUNTING, *flags) as daemon, clients(daemon, 2) as (stopped, moving):
        slowly = stopped.batches()
        assert next(slowly).index == 0
        assert [batch.index for batch in islice(moving.batches(), 120)] == list(range(120))
        assert [next(slowly).index for _ in range(60)] == list(range(1, 61))
        stats = daemon.stream_stats()
        assert stats["made"] > 120 + 8  # some were made a second time


def test_a_new_group_begins_at_the_beginning_while_another_is_far_ahead() -> None:
    """And neither holds the other up."""
    with Serving(*COUNTING, "--max-queue-size", "8") as daemon, daemon.client() as leader:
        ahead = leader.batches()
        assert [(b.epoch, b.index) for b in islice(ahead, 350)][-1] == (1, 149)
        with daemon.client() as late:
            behind = late.batches()
            for n in range(40):
                assert (next(behind).position, next(ahead).position) == ((0, n), (1, 150 + n))


def test_a_group_starts_where_it_is_told() -> None:
    """First, live, and stored: also under a new daemon, and when it has never been there before."""
    one = ("--workers", "1")  # what is made again comes in order, too
    with Serving(*COUNTING, *one, "--max-queue-size", "8") as daemon:
        with daemon.client(group="g") as leader:
            assert numbers(list(islice(leader, 50)))[-1] == 49
            with daemon.client(start="live") as live:
                first = next(live.batches()).index
                assert 40 <= first <= 60
        with daemon.client(group="g", start="stored") as again:
            assert next(again.batches()).index == 50
        until(lambda: (daemon.folder / "d.state").exists(), 10, "the state is written")
        assert daemon.stop() == 0
        daemon.start()
        with daemon.client(group="g", start="stored") as again, daemon.client(group="new", start="stored") as new:
            assert next(again.batches()).index == 51
            assert next(new.batches()).index == 0
        with daemon.client(group="g") as fresh:
            assert next(fresh.batches()).index == 0


def test_what_a_killed_member_held_comes_at_once_also_over_tcp() -> None:
    """The kernel ends its connection, so nobody waits for a heartbeat."""
    with Serving(*COUNTING, "--bind", "tcp://127.0.0.1:*") as daemon:
        daemon.ready()
        remote = next(one for one in daemon.stats()["endpoints"] if one.startswith("tcp"))
        with Trainer() as victim, daemon.client(remote, group="g") as other:
            victim(f"client = Client({remote!r}, group='g'); batches = client.batches()")
            held = [victim("next(batches).index") for _ in range(3)][-1]
            victim.kill()
            found = {batch.index: batch.redelivered for batch in islice(other.batches(), 60)}
            assert found[held]
            assert sorted(found) == sorted(set(range(max(found) + 1)) - set(range(held)) | set(found))


def test_what_a_silent_host_held_comes_after_two_heartbeats() -> None:
    """A stopped process answers no heartbeat, which looks from here like a cable that was pulled."""
    with Serving(*COUNTING, "--bind", "tcp://127.0.0.1:*") as daemon:
        daemon.ready()
        remote = next(one for one in daemon.stats()["endpoints"] if one.startswith("tcp"))
        with Trainer() as victim, daemon.client(remote, group="g") as other:
            victim(f"client = Client({remote!r}, group='g'); batches = client.batches()")
            held = victim("next(batches).index")
            victim.process.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            until(lambda: len(daemon.stream_stats()["groups"][0]["members"]) == 1, 10, "it is given up")
            assert time.monotonic() - began < 8
            found = {batch.index: batch.redelivered for batch in islice(other.batches(), 60)}
            assert found[held]
            victim.process.send_signal(signal.SIGCONT)
            # it has some in hand still, and then connects again by itself
            assert set(victim("[next(batches).index for _ in range(9)]")) - set(found)


def test_an_acknowledgement_of_another_time_is_ignored_and_counted() -> None:
    """A lease belongs to one session of one daemon: what a new daemon does not know changes nothing there."""
    with Serving(*COUNTING) as daemon, daemon.client(group="g") as client:
        batches = client.batches()
        first = next(batches)
        before = daemon.stats()["ignored"]
        link = client._subscription.open()
        link.send("TAKE", [[90, 3]], [[90, 3]])
        until(lambda: daemon.stats()["ignored"] >= before + 2, 10, "it is counted")
        assert next(batches).index == first.index + 1
