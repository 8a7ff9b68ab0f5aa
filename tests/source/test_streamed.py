from __future__ import annotations

from typing import Any

import pytest

from enqueued.errors import LoadError, SourceError
from enqueued.source.load import build
from enqueued.source.seeding import WorkerInfo, enter
from enqueued.source.spec import SourceSpec
from enqueued.source.streamed import EndOfEpoch, StreamedSource


def streamed(target: str, **fields: Any) -> StreamedSource:
    source = build(SourceSpec("generator", f"sources.{target}", **fields))
    assert isinstance(source, StreamedSource)
    return source


def epoch_of(source: StreamedSource, epoch: int) -> list[Any]:
    source.open(epoch)
    batches: list[Any] = []
    while True:
        try:
            batches.append(source.make(epoch, len(batches)))
        except EndOfEpoch:
            return batches


def refusal(target: str, **fields: Any) -> LoadError:
    with pytest.raises(LoadError) as caught:
        streamed(target, **fields)
    return caught.value


@pytest.mark.parametrize(
    ("target", "batches"),
    [
        ("good:counting", [0, 1, 2]),
        ("good:Lines", [0, 1, 2]),
        ("good:Walker", [1, 0]),
        ("torch_like:Streaming", [0, 1, 2]),
        ("bad:letters", ["a"]),
        ("streams:opened", [5, 6]),
        ("streams:table", [7, 8]),
    ],
)
def test_each_epoch_begins_again(target: str, batches: list[Any]) -> None:
    """Generator functions, factories, iterables and their classes, as often as one likes."""
    source = streamed(target)
    assert not source.one_epoch
    assert [epoch_of(source, epoch) for epoch in range(3)] == [batches] * 3


def test_arguments_reach_the_factory() -> None:
    """`--arg` is for functions and classes alike."""
    assert epoch_of(streamed("good:counting", args={"size": 1}), 0) == [0]
    assert epoch_of(streamed("good:Lines", args={"size": 1}), 0) == [0]


def test_an_iterator_has_one_epoch() -> None:
    """It cannot begin again, and says what to give instead."""
    source = streamed("good:spent_once")
    assert source.one_epoch
    assert epoch_of(source, 0) == [10, 11]
    with pytest.raises(SourceError, match=r"is an iterator: it goes through once.*give a generator function"):
        source.open(1)


def test_an_endless_iterator_goes_on() -> None:
    """Nothing is read ahead of what is asked for."""
    source = streamed("good:endless")
    source.open(0)
    first = source.make(0, 0)
    assert [source.make(0, index) - first for index in range(1, 5)] == [1, 2, 3, 4]


def test_a_class_of_its_own_iterator_is_made_anew() -> None:
    """The instance that was made at the start is the first epoch's, not a wasted one."""
    source = streamed("streams:Counted")
    assert source.user.made == 1
    assert [epoch_of(source, epoch) for epoch in range(3)] == [[1], [2], [3]]


def test_a_stream_only_goes_forward() -> None:
    """An older position, or another epoch's, is a clear error."""
    source = streamed("good:counting")
    with pytest.raises(SourceError, match=r"epoch 0 of sources\.good:counting is not open"):
        source.make(0, 0)
    source.open(0)
    source.make(0, 0)
    with pytest.raises(SourceError, match="has passed 0:0; it only goes forward"):
        source.make(0, 0)
    with pytest.raises(SourceError, match="epoch 1 of"):
        source.make(1, 0)


def test_an_epoch_without_a_batch_is_an_error() -> None:
    """An empty stream would otherwise begin epochs for ever."""
    source = streamed("good:nothing")
    source.open(0)
    with pytest.raises(SourceError, match="gave no batch at all in epoch 0"):
        source.make(0, 0)


def test_a_replica_may_have_no_batch() -> None:
    """Two batches for three replicas: the third one's epoch is just over."""
    source = streamed("good:nothing", replicas=3)
    source.open(0)
    with pytest.raises(EndOfEpoch):
        source.make(0, 2)


def test_a_generator_takes_its_share_by_worker_info() -> None:
    """Replica 1 of 2 gets every other batch, at positions 1, 3, 5."""
    enter(WorkerInfo(id=1, num_workers=2, replica=1, replicas=2))
    source = streamed("streams:sharded", replicas=2)
    source.open(0)
    assert [source.make(0, index) for index in (1, 3)] == [(1, 1), (3, 3)]
    with pytest.raises(EndOfEpoch):
        source.make(0, 5)


def test_an_augmenting_generator_is_reproducible() -> None:
    """The generators are seeded before each batch, so that a factory that is replayed gives the same."""
    source = streamed("good:noisy", seed=2)
    first = epoch_of(source, 0)
    assert epoch_of(source, 0) == first
    assert epoch_of(source, 1) != first
    assert epoch_of(streamed("good:noisy", seed=3), 0) != first


def test_an_exception_in_the_generator_comes_out_as_it_is() -> None:
    """After it the generator is over."""
    source = streamed("bad:failing_later")
    source.open(0)
    source.make(0, 0)
    with pytest.raises(ValueError, match="second"):
        source.make(0, 1)
    with pytest.raises(EndOfEpoch):
        source.make(0, 1)


def test_closing_runs_the_generators_finally() -> None:
    """Files that it opened are closed, also when the next epoch begins before the end."""
    source = streamed("streams:guarded")
    source.close()
    source.open(0)
    log = source.make(0, 0)
    source.open(1)
    assert log == ["open", "closed"]
    log = source.make(1, 0)
    source.close()
    source.close()
    assert log == ["open", "closed"]


def test_a_generator_that_refuses_to_close_is_named() -> None:
    """Its error does not pass for another one's."""
    source = streamed("streams:stubborn")
    source.open(0)
    source.make(0, 0)
    with pytest.raises(LoadError, match="while it was closed, raised ValueError: no"):
        source.close()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("bad:number", "sources.bad:number gives an int, which has no __iter__; --generator needs one"),
        ("bad:NoIndex", "sources.bad:NoIndex gives a NoIndex, which has no __iter__; --generator needs one"),
        (
            "good:Numbers",
            "sources.good:Numbers gives a Numbers, which has no __iter__; --generator needs one; it has __getitem__: "
            "serve it with --sequence",
        ),
        ("bad:waiting", "sources.bad:waiting is asynchronous; --generator needs a plain generator"),
        ("bad:Raising", "sources.bad:Raising raised ValueError: no such folder: /data"),
    ],
)
def test_what_is_no_stream_is_refused_at_once(target: str, message: str) -> None:
    """Before any worker is started."""
    assert str(refusal(target)) == message


@pytest.mark.parametrize(
    ("target", "args", "message"),
    [
        ("good:counting", {"sise": 1}, "takes size; --arg sise=1 is not one of them; did you mean size?"),
        ("good:Lines", {"a": 1}, "takes size; --arg a=1 is not one of them"),
        ("good:endless", {"a": 1}, "is a count that exists already; it takes no --arg (a)"),
    ],
)
def test_wrong_arguments_are_found_before_the_first_epoch(target: str, args: dict[str, Any], message: str) -> None:
    """A factory is not called for this; its signature tells."""
    assert str(refusal(target, args=args)) == f"sources.{target} {message}"


def test_a_wrapper_may_take_other_arguments_than_it_shows() -> None:
    """functools.wraps shows the wrapped function's signature, which is not the wrapper's."""
    assert epoch_of(streamed("streams:wrapped"), 0) == [3]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("bad:not_iterable", "sources.bad:not_iterable gives an int, which has no __iter__; --generator needs one"),
        ("bad:failing_factory", "sources.bad:failing_factory raised FileNotFoundError: /data"),
        ("streams:Unopenable", "sources.streams:Unopenable.__iter__ raised OSError: closed"),
    ],
)
def test_a_factory_that_fails_is_a_load_error_when_opened(target: str, message: str) -> None:
    """Factories are called where they are read, once per epoch."""
    source = streamed(target)
    with pytest.raises(LoadError) as caught:
        source.open(0)
    assert str(caught.value) == message
