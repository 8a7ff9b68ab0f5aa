"""The table of `enqueued stats`, from snapshots made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enqueued.errors import ProtocolError
from enqueued.stats import DaemonStats, GroupStats, MemberStats, StreamStats, WorkerStats
from enqueued_cli.snapshot import read
from enqueued_cli.table import count, duration, rate, size, table

MEMBER = MemberStats("trainer-1", 4711, "node7", "slots", 2, 1, 1204, 12.34)
GROUP = GroupStats("sweep", False, 3, 118, 2407, 0, (MEMBER,), leases=1, lag=0)
STREAM = StreamStats(
    name="train",
    source="mymod:MySeq",
    kind="sequence",
    length=12500,
    batch_bytes=1_000_000,
    ready=3,
    making=7,
    max_queue_size=10,
    made=1000,
    delivered=2000,
    failed=0,
    worker_restarts=0,
    make_s=0.170,
    starved_s=12.0,
    full_s=0.0,
    slot_bytes=400 << 20,
    verdict="the workers are the limit",
    workers=tuple(WorkerStats(f"train-{n}", 100 + n, "busy" if n < 3 else "idle", 10, 1.0) for n in range(4)),
    groups=(GROUP,),
)
DAEMON = DaemonStats(
    version="0.1.0",
    name="default",
    pid=4700,
    incarnation="abc",
    uptime_s=100.0,
    cpu_s=1.0,
    rss_bytes=48 << 20,
    clients=1,
    ignored=0,
    endpoints=("ipc:///run/enqueued/default.sock", "tcp://127.0.0.1:5555"),
    streams=(STREAM,),
)


def test_a_table_reads_like_this() -> None:
    """The whole table of one daemon with one stream, one group and one member."""
    assert table(DAEMON).splitlines() == [
        "enqueued 0.1.0  default  pid 4700  up 1 min 40 s  1 client  CPU 1.0 %  memory 48.0 MiB",
        "  ipc:///run/enqueued/default.sock",
        "  tcp://127.0.0.1:5555",
        "",
        "train  mymod:MySeq  (sequence, 12 500 batches per epoch, 977 KiB each)",
        "  WORKERS   QUEUE       MADE    DELIVERED  BYTES      PER MAKE  ONE MAKE  SLOTS",
        "  3/4 busy  3/10 ready  10.0/s  20.0/s     0.02 GB/s  2.0       170 ms    400 MiB",
        "  => the workers are the limit",
        "  GROUP  AT     LAG  DELIVERED  MEMBER                BY     HOLDS  CREDIT  NOW",
        "  sweep  3:118  0    2 407      trainer-1 node7:4711  slots  1      2       waits 12.3 s for 3:118",
    ]


def test_rates_are_between_two_snapshots() -> None:
    """With an earlier snapshot, rates and the processor's share are of the time between."""
    stream = replace(STREAM, made=1050, delivered=2400)
    later = replace(DAEMON, uptime_s=102.0, cpu_s=1.5, streams=(stream,))
    shown = table(later, DAEMON)
    assert "CPU 25.0 %" in shown
    assert "25.0/s  200/s" in shown
    assert "0.20 GB/s" in shown


def test_a_restarted_daemon_starts_anew() -> None:
    """A snapshot of another incarnation is nothing to count from."""
    assert table(DAEMON, replace(DAEMON, incarnation="before", uptime_s=9.0)) == table(DAEMON)
    assert table(DAEMON, DAEMON) == table(DAEMON)


def test_a_stream_that_was_added_is_counted_from_the_start() -> None:
    """A stream that the earlier snapshot lacks has its own totals as rates."""
    assert "10.0/s" in table(replace(DAEMON), replace(DAEMON, uptime_s=50.0, streams=()))


def test_quiet_streams_are_shown() -> None:
    """A stream that nobody has asked yet, of a source without a length."""
    stream = replace(STREAM, length=None, made=0, delivered=0, groups=(), verdict="", workers=())
    shown = table(replace(DAEMON, uptime_s=0.0, streams=(stream,)))
    assert "endless" in shown
    assert "GROUP" not in shown
    assert "=>" not in shown


def test_members_say_what_they_do() -> None:
    """Groups without members, members at work, idle ones, and what was delivered again."""
    groups = (
        replace(GROUP, name="gone", members=()),
        replace(GROUP, private=True, redelivered=3, members=(replace(MEMBER, waiting_s=0.0),)),
        replace(GROUP, members=(MEMBER, replace(MEMBER, name="trainer-2", waiting_s=0.0, leases=0))),
    )
    lines = table(replace(DAEMON, streams=(replace(STREAM, groups=groups),))).splitlines()[-4:]
    assert "no member is connected" in lines[0]
    assert "(private)" in lines[1]
    assert "2 407 (+3 again)" in lines[1]
    assert lines[1].endswith("works on 1 batch")
    assert lines[3].split()[0] == "trainer-2"
    assert lines[3].endswith("idle")


def test_a_member_whose_frames_are_compressed_says_how_much() -> None:
    """How many times smaller they are; nothing where they go as they are."""
    remote = replace(MEMBER, transport="frames", compression=2.345)
    groups = (replace(GROUP, members=(remote, replace(remote, compression=1.0))),)
    lines = table(replace(DAEMON, streams=(replace(STREAM, groups=groups),))).splitlines()[-2:]
    assert "  frames ÷2.3  1" in lines[0]
    assert "  frames       1" in lines[1]


def test_groups_say_how_far_they_are_and_who_holds_them_up() -> None:
    """Each rank is told apart; a lag that is not known is a dash; who is waited for stands below."""
    groups = (
        replace(GROUP, lag=1500, waits_for="group 'slow', 10 batches behind"),
        replace(GROUP, name="ddp", private=True, kind="ranks", rank=2, world_size=4, lag=-1),
    )
    lines = table(replace(DAEMON, streams=(replace(STREAM, groups=groups),))).splitlines()[-3:]
    assert lines[0].split()[:4] == ["sweep", "3:118", "1", "500"]
    assert lines[1].split()[:4] == ["ddp", "2/4", "3:118", "-"]
    assert lines[2] == "  sweep waits for group 'slow', 10 batches behind"


def test_an_older_daemon_is_read() -> None:
    """What it does not tell of its groups has a default, and is shown as unknown."""
    plain = DAEMON.to_plain()
    for key in ("kind", "rank", "world_size", "leases", "lag", "waits_for"):
        del plain["streams"][0]["groups"][0][key]
    shown = read(plain)
    assert shown.streams[0].groups[0].lag == -1
    assert "sweep  3:118  -    2 407" in table(shown)


def test_troubles_are_told() -> None:
    """Failed batches, restarted workers and those that neither work nor wait for work."""
    workers = (replace(STREAM.workers[0], state="starting"), replace(STREAM.workers[1], state="waiting for memory"))
    stream = replace(STREAM, failed=1, skipped=3, worker_restarts=2, workers=workers)
    shown = table(replace(DAEMON, ignored=5, streams=(stream,)))
    assert (
        "1 batch failed, 3 batches skipped, 2 workers restarted, 1 worker starting, 1 worker waiting for memory"
        in shown
    )
    assert "5 messages ignored" in shown


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (duration(0.00034), "340 µs"),
        (duration(0.0125), "12.5 ms"),
        (duration(3.44), "3.4 s"),
        (duration(75), "1 min 15 s"),
        (duration(4330), "1 h 12 min"),
        (duration(200_000), "2 d 7 h"),
        (size(0), "0 B"),
        (size(1536), "1.5 KiB"),
        (size(18.4 * (1 << 20)), "18.4 MiB"),
        (size(3 << 40), "3.0 TiB"),
        (rate(0.123), "0.12"),
        (rate(41.23), "41.2"),
        (rate(111234.5), "111 234"),
        (count(1, "batch"), "1 batch"),
        (count(2, "batch"), "2 batches"),
        (count(12500, "client"), "12 500 clients"),
    ],
)
def test_numbers_are_readable(shown: str, expected: str) -> None:
    """Numbers come with the unit and the digits that suit them."""
    assert shown == expected


def test_a_snapshot_is_read_back() -> None:
    """What a daemon answers is the snapshot that it took, also when a newer one says more."""
    assert read(DAEMON.to_plain()) == DAEMON
    assert read({**DAEMON.to_plain(), "mood": "good"}) == DAEMON


def test_another_versions_answer_is_refused() -> None:
    """An answer that lacks something names the version that gave it."""
    plain = DAEMON.to_plain()
    del plain["cpu_s"]
    with pytest.raises(ProtocolError, match=r"KeyError: 'cpu_s'\)\. It is version 0\.1\.0"):
        read(plain)


def test_a_stream_that_is_loading_says_so() -> None:
    """Neither a length nor a size is known yet, and none is claimed."""
    shown = table(replace(DAEMON, streams=(replace(STREAM, length=None, batch_bytes=0, verdict="loading"),)))
    assert "(sequence, loading)" in shown
