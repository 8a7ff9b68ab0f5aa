"""Sources of every kind, served by a real daemon and read by a real client."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enqueued.errors import SourceError
from serving import Serving

SEQUENCE = "--sequence"
DATASET = "--dataset"
GENERATOR = "--generator"


def firsts(batches: Any) -> list[int]:
    """The first number of each batch."""
    return [int(np.asarray(batch).flat[0]) for batch in batches]


@pytest.mark.parametrize(
    ("target", "flags", "length"),
    [
        ("sources.counting:Counting", (), 20),
        ("sources.counting:Counting", ("--arg", "length=3"), 3),
        ("sources.good:ready", (), 4),
        ("sources.good:numbers", ("--arg", "size=6"), 6),
        ("sources.good:Shelf.Inner", (), 5),
        ("sources.good:Shelf.ready", (), 3),
        ("sources.keras_like:OldStyle", (), 3),
        ("sources.keras_like:NewStyle", (), 4),
    ],
)
def test_a_sequence_is_a_class_an_instance_a_factory_or_an_attribute_of_one(
    target: str, flags: tuple[str, ...], length: int
) -> None:
    """Whatever the target is, its batches come in order, epoch after epoch."""
    with Serving(SEQUENCE, target, *flags, "--workers", "2") as daemon, daemon.client() as client:
        assert len(client) == length
        for epoch in client.epochs(2):
            batches = [batch[0] if isinstance(batch, tuple) else batch for batch in epoch]
            assert len(batches) == length
            if target != "sources.keras_like:OldStyle":
                assert firsts(batches) == list(range(length))


@pytest.mark.parametrize(("drop_last", "counts"), [(False, [5, 5, 5, 5, 3]), (True, [5, 5, 5, 5])])
def test_a_dataset_is_cut_into_batches(drop_last: bool, counts: list[int]) -> None:
    """Samples are stacked in order; `--drop-last` leaves out what does not fill a batch."""
    flags = (DATASET, "sources.pooled:Samples", "--batch-size", "5", *(["--drop-last"] if drop_last else []))
    with Serving(*flags, "--workers", "2") as daemon, daemon.client() as client:
        assert len(client) == len(counts)
        for epoch in client.epochs(2):
            batches = list(epoch)
            assert [len(batch["y"]) for batch in batches] == counts
            assert np.concatenate([batch["y"] for batch in batches]).tolist() == list(range(sum(counts)))
            assert all((batch["x"] == batch["y"][:, None]).all() for batch in batches)


def test_a_dataset_is_collated_by_the_users_function() -> None:
    """`--collate` names a function that makes a batch of a list of samples."""
    flags = (DATASET, "sources.pooled:Samples", "--batch-size", "10", "--collate", "sources.pooled:collate")
    with Serving(*flags) as daemon, daemon.client() as client:
        batches = list(client)
    assert np.concatenate(batches).tolist() == [10 * number for number in range(23)]


def test_torchs_datasets_fit_as_they_are() -> None:
    """A dataset of tensors, and one that fetches many samples at once, need nothing of enqueued."""
    flags = (DATASET, "sources.torch_like:Images", "--batch-size", "4")
    with Serving(*flags, "--workers", "2") as daemon, daemon.client() as client:
        batches = list(client)
        assert [batch["image"].shape for batch in batches] == [(4, 2, 2), (4, 2, 2), (2, 2, 2)]
        assert np.concatenate([batch["label"] for batch in batches]).tolist() == list(range(10))
    flags = (DATASET, "sources.torch_like:Fetching", "--batch-size", "2")
    with Serving(*flags) as daemon, daemon.client() as client:
        assert [np.asarray(batch).tolist() for batch in client] == [[0, 10], [20, 30], [40]]


def test_shuffled_samples_come_once_per_epoch_in_another_order_each() -> None:
    """`--shuffle` permutes by seed and epoch, the same in every daemon."""
    flags = (DATASET, "sources.pooled:Samples", "--batch-size", "5", "--shuffle", "--seed", "3")
    orders = []
    for workers in ("1", "3"):
        with Serving(*flags, "--workers", workers) as daemon, daemon.client() as client:
            orders.append([np.concatenate([batch["y"] for batch in epoch]).tolist() for epoch in client.epochs(3)])
    assert orders[0] == orders[1]
    assert all(sorted(order) == list(range(23)) for order in orders[0])
    assert len({tuple(order) for order in orders[0]}) == 3


def test_arguments_are_json_values() -> None:
    """What is JSON is taken as JSON, anything else as text."""
    values = {"count": 3, "rate": 0.5, "flag": True, "nothing": None, "name": "train", "path": "/a=b/c"}
    nested = {"list": [1, 2.5, "x"], "map": {"a": [1]}}
    flags = [
        f"{key}={json.dumps(value)}" for key, value in (values | nested).items() if key not in ("name", "path")
    ] + ["name=train", "path=/a=b/c"]
    arguments = tuple(itertools.chain.from_iterable(("--arg", flag) for flag in flags))
    with Serving(SEQUENCE, "sources.pooled:Told", *arguments) as daemon, daemon.client() as client:
        told = next(iter(client))
    assert told == values | nested


def test_large_arguments_arrive() -> None:
    """Arguments may be larger than a message between the processes."""
    numbers = list(range(20_000))
    flag = "numbers=" + json.dumps(numbers, separators=(",", ":"))
    with Serving(SEQUENCE, "sources.pooled:ToldNumbers", "--arg", flag) as daemon, daemon.client() as client:
        batches = iter(client)
        assert next(batches).tolist() == numbers
        with pytest.raises(SourceError, match="ValueError: no"):
            next(batches)


def test_modules_are_found_in_the_working_directory_and_in_app_dir(tmp_path: Path) -> None:
    """The folder that the daemon runs in is importable, and so is `--app-dir`, also beside a module of a known name."""
    source = "class Mine:\n    def __len__(self): return 2\n    def __getitem__(self, index): return index + {}\n"
    (tmp_path / "elsewhere.py").write_text(source.format(10))
    (tmp_path / "queue.py").write_text("raise RuntimeError('not the one that is meant')\n")
    with (
        Serving(SEQUENCE, "elsewhere:Mine", "--app-dir", str(tmp_path)) as daemon,
        daemon.client() as client,
    ):
        assert list(client) == [10, 11]
    with Serving(SEQUENCE, "nearby:Mine", expect=None) as daemon:
        daemon.wait()
        (daemon.folder / "nearby.py").write_text(source.format(20))
        daemon.start()
        with daemon.client() as client:
            assert list(client) == [20, 21]
            assert daemon.stop() == 0


def test_a_generator_function_begins_anew_each_epoch() -> None:
    """A finite generator has epochs, with random numbers of their own that another daemon gives too."""
    runs = []
    for _ in range(2):
        with Serving(GENERATOR, "sources.pooled:noisy", "--seed", "5") as daemon, daemon.client() as client:
            with pytest.raises(TypeError):
                len(client)
            runs.append([list(epoch) for epoch in client.epochs(3)])
    assert [[batch["n"] for batch in epoch] for epoch in runs[0]] == [[0, 1, 2, 3, 4]] * 3
    for ours, theirs in zip(itertools.chain(*runs[0]), itertools.chain(*runs[1]), strict=True):
        assert ours["r"] == theirs["r"]
        assert ours["x"].tobytes() == theirs["x"].tobytes()
    assert len({batch["r"] for batch in itertools.chain(*runs[0])}) == 15


@pytest.mark.parametrize("target", ["sources.pooled:Rows", "sources.pooled:rows", "sources.streams:opened"])
def test_an_iterable_begins_anew_each_epoch(target: str) -> None:
    """An iterable, its class, or a factory of one gives the same epoch again and again."""
    with Serving(GENERATOR, target) as daemon, daemon.client() as client:
        epochs = [firsts(epoch) for epoch in client.epochs(4)]
    assert epochs[0]
    assert epochs == epochs[:1] * 4


def test_a_plain_iterator_ends_the_stream() -> None:
    """What goes through once is given once, and then the client's iteration ends for good."""
    with Serving(GENERATOR, "sources.pooled:walker") as daemon, daemon.client() as client:
        assert [int(batch.data[0]) for batch in client.batches()] == list(range(6))
        assert [list(epoch) for epoch in client.epochs(3)] == []
        assert list(client) == []


def test_replicas_are_taken_in_turn() -> None:
    """Three replicas of unequal length are interleaved round-robin, and each epoch ends when all have ended."""
    flags = (GENERATOR, "sources.pooled:shares", "--arg", "sizes=[4,1,3]", "--replicas", "3")
    expected = [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (0, 2), (2, 2), (0, 3)]
    with Serving(*flags) as daemon, daemon.client() as client:
        for epoch in client.epochs(3):
            assert [tuple(batch.tolist()) for batch in epoch] == expected
        assert len(daemon.stream_stats()["workers"]) == 3


def test_a_generator_runs_ahead_no_further_than_the_queue() -> None:
    """With no client a stream of positions is made up to the queue's size."""
    with Serving(GENERATOR, "sources.good:endless", "--max-queue-size", "5") as daemon:
        daemon.ready()
        with daemon.client() as client:
            taken = [batch.data for batch in itertools.islice(client.batches(), 500)]
            assert taken == list(range(500))
        assert daemon.stream_stats()["made"] <= 520


def test_the_daemon_never_imports_the_source(tmp_path: Path) -> None:
    """The module is imported by one process, the zygote, and that is not the daemon."""
    notes = tmp_path / "imports"
    with Serving(
        SEQUENCE, "sources.pooled:Augmented", "--workers", "3", environ={"NOTE_IMPORTS": str(notes)}
    ) as daemon:
        with daemon.client() as client:
            list(client)
        pids = [int(line) for line in notes.read_text().split()]
        assert len(pids) == 1
        assert daemon.process.pid not in pids
        assert daemon.stats()["pid"] == daemon.process.pid


def test_two_streams_are_served_side_by_side(tmp_path: Path) -> None:
    """A file describes two streams; a client names the one that it wants."""
    config = tmp_path / "two.toml"
    config.write_text(
        "[daemon]\nmax_queue_bytes = 4194304\n"
        '[stream.train]\nsequence = "sources.pooled:Sized"\nargs = { sizes = [600000], length = 30 }\nworkers = 2\n'
        '[stream.val]\nsequence = "sources.counting:Counting"\nargs = { length = 7 }\nworkers = 1\n'
    )
    with Serving("--config", str(config)) as daemon:
        daemon.ready()
        assert {stream["name"] for stream in daemon.stats()["streams"]} == {"train", "val"}
        with daemon.client(f"{daemon.endpoint}/train") as train, daemon.client(f"{daemon.endpoint}/val") as val:
            for _ in range(2):
                pairs = list(itertools.zip_longest(train, val))
                assert [int(batch[0]) for batch, _ in pairs] == list(range(30))
                assert [int(batch[1]) for _, batch in pairs if batch is not None] == list(range(7))
