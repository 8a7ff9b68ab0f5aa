from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from enqueued.errors import LoadError
from enqueued.source.dataset import DatasetSource
from enqueued.source.indexed import IndexedSource
from enqueued.source.load import build, run_worker_init
from enqueued.source.seeding import WorkerInfo
from enqueued.source.spec import Kind, SourceSpec
from sources import good


def indexed(target: str, **fields: Any) -> IndexedSource:
    source = build(SourceSpec(fields.pop("kind", "sequence"), f"sources.{target}", **fields))
    assert isinstance(source, IndexedSource)
    return source


def refusal(target: str, kind: Kind = "sequence", **fields: Any) -> LoadError:
    with pytest.raises(LoadError) as caught:
        build(SourceSpec(kind, f"sources.{target}", **fields))
    assert "\n" not in str(caught.value)
    return caught.value


def test_spec_survives_plain_data() -> None:
    """A spec travels as JSON or msgpack, and an older reader ignores a field that it does not know."""
    spec = SourceSpec("dataset", "m:x", {"path": "/data", "sizes": [1, 2]}, batch_size=4, shuffle=True, seed=7)
    assert SourceSpec.from_plain(spec.to_plain()) == spec
    assert SourceSpec.from_plain({**spec.to_plain(), "later": 1}) == spec


@pytest.mark.parametrize(
    ("target", "args", "length"),
    [
        ("good:Numbers", {}, 5),
        ("good:Numbers", {"size": 7}, 7),
        ("good:numbers", {"size": 2}, 2),
        ("good:ready", {}, 4),
        ("good:Shelf.Inner", {"size": 6}, 6),
        ("good:Shelf.ready", {}, 3),
        ("good:batches", {}, 2),
        ("keras_like:OldStyle", {}, 3),
        ("keras_like:NewStyle", {"workers": 2}, 4),
    ],
)
def test_a_class_an_instance_or_a_factory_is_a_source(target: str, args: dict[str, Any], length: int) -> None:
    """What is called is called with the arguments; what exists already is taken as it is."""
    source = indexed(target, args=args)
    assert source.length() == length
    source.make(0, length - 1)


@pytest.mark.parametrize(
    ("target", "args", "message"),
    [
        (
            "good:Numbers",
            {"sise": 3},
            "sources.good:Numbers takes size, width; --arg sise=3 is not one of them; did you mean size?",
        ),
        (
            "opening:Rows",
            {},
            "sources.opening:Rows takes path, header; path must be given: --arg path=...",
        ),
        ("good:nothing", {"a": 1}, "sources.good:nothing takes no arguments; --arg a=1 is not one of them"),
        ("good:ready", {"size": 3}, "sources.good:ready is a Numbers that exists already; it takes no --arg (size)"),
    ],
)
def test_arguments_that_do_not_fit_name_the_signature(target: str, args: dict[str, Any], message: str) -> None:
    """The message says what the constructor takes, and needs no traceback."""
    error = refusal(target, args=args)
    assert str(error) == message
    assert error.traceback == ""


def test_a_type_error_from_inside_the_constructor_is_the_users() -> None:
    """Only the call itself is taken for wrong arguments."""
    error = refusal("bad:Raising", args={"what": "TypeError"})
    assert str(error) == "sources.bad:Raising raised TypeError: no such folder: /data"
    assert "sources/bad.py" in error.traceback


@pytest.mark.parametrize("what", ["ValueError", "SystemExit", "KeyboardInterrupt"])
def test_a_constructor_that_raises_keeps_its_traceback(what: str) -> None:
    """Nothing that a constructor raises gets past the loader, not even SystemExit."""
    error = refusal("bad:Raising", args={"what": what})
    assert str(error).startswith(f"sources.bad:Raising raised {what}: ")
    assert "in __init__" in error.traceback
    assert "construction.py" not in error.traceback


def test_an_error_without_a_text_of_its_own_is_still_told() -> None:
    """A __str__ that raises does not hide the error."""
    assert "Silent: <its text could not be made>" in str(refusal("bad:Unspeakable"))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "bad:letters",
            "gives a dict_keys, which has no __getitem__; --sequence needs __len__ and __getitem__; it is ",
        ),
        ("bad:NoLength", "gives a NoLength, which has no __len__; --sequence needs __len__ and __getitem__"),
        ("bad:NoIndex", "gives a NoIndex, which has no __getitem__; --sequence needs"),
        ("bad:number", "gives an int, which has no __getitem__"),
        ("bad:text", "gives a str, whose parts are no batches"),
        ("good:counting", "gives a generator, which has no __getitem__; --sequence needs __len__ and __getitem__; it"),
        ("torch_like:Streaming", "gives a Streaming, an iterable dataset; serve it with --generator sources.torch"),
    ],
)
def test_what_is_not_a_sequence_says_which_method_is_missing(target: str, message: str) -> None:
    """One line says what came out and what it lacks."""
    assert str(refusal(target)).startswith(f"sources.{target} {message}")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, "len(sources.bad:Sized) is 0; there must be at least 1"),
        (-3, "len(sources.bad:Sized) is -3; there must be at least 1"),
        (None, "len(sources.bad:Sized) is None, a NoneType; it must be an int, at least 1"),
        (2.0, "len(sources.bad:Sized) is 2.0, a float; it must be an int, at least 1"),
        ("9", "len(sources.bad:Sized) is '9', a str; it must be an int, at least 1"),
    ],
)
def test_a_length_that_is_no_length_is_named(size: Any, message: str) -> None:
    """The wrong value itself is in the message, which len() would not say."""
    assert str(refusal("bad:Sized", args={"size": size})) == message
    assert "--batch-size" not in str(refusal("bad:Sized", "dataset", args={"size": size}, batch_size=2))


def test_a_length_may_be_any_integer() -> None:
    """NumPy integers are lengths too."""
    assert indexed("bad:Sized", args={"size": np.int64(3)}).length() == 3


def test_a_length_that_raises_keeps_its_traceback() -> None:
    """The user's own line is shown."""
    error = refusal("bad:Unmeasurable")
    assert str(error) == "sources.bad:Unmeasurable.__len__ raised OSError: no such disk"
    assert "sources/bad.py" in error.traceback


def test_an_endless_py_dataset_is_sent_to_generator() -> None:
    """Keras 3 lets num_batches be None; an indexed source needs an end."""
    assert str(refusal("keras_like:Endless")).startswith("sources.keras_like:Endless.num_batches is None")
    assert "raised NotImplementedError" in str(refusal("keras_like:Forgetful"))


def test_a_source_that_raises_when_looked_at_is_refused() -> None:
    """Properties are user code as well."""
    error = refusal("bad:Prickly", args={"size": 3})
    assert str(error) == "sources.bad:Prickly raised RuntimeError: do not look at me"


def test_datasets_need_a_batch_size() -> None:
    """The flag that is missing is named."""
    assert "--batch-size" in str(refusal("good:Numbers", "dataset"))
    assert str(refusal("good:Numbers", "dataset", batch_size=0)) == "--batch-size is 0; it must be at least 1"


def test_an_iterable_dataset_as_dataset_is_sent_to_generator() -> None:
    """It inherits a __getitem__ that only raises, and is told apart all the same."""
    assert "serve it with --generator" in str(refusal("torch_like:Streaming", "dataset", batch_size=2))


def test_collate_must_be_a_function() -> None:
    """A wrong --collate is found at the start, not at the first batch."""
    message = str(refusal("good:Numbers", "dataset", batch_size=2, collate="sources.bad:number"))
    assert message == "--collate sources.bad:number is an int, not a function"
    assert "not found" in str(refusal("good:Numbers", "dataset", batch_size=2, collate="sources.bad:nope"))


def test_the_constructor_is_seeded() -> None:
    """Two processes that build the same spec build the same object; another seed gives another one."""
    orders = [indexed("opening:Drawn", seed=seed).user.order for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_a_built_source_travels_by_pickle() -> None:
    """With the start method spawn, the built source is what reaches the workers."""
    source = indexed("good:Numbers", shuffle=True, seed=1)
    again = pickle.loads(pickle.dumps(source))
    assert [again.make(0, n)[1] for n in range(5)] == [source.make(0, n)[1] for n in range(5)]


def test_worker_init_gets_the_source_and_the_worker() -> None:
    """``--worker-init`` is a function of the user's object and who runs it; without one the source's method is used."""
    info = WorkerInfo(id=2, num_workers=4)
    spec = SourceSpec("sequence", "sources.opening:Reopening", worker_init="sources.opening:note")
    flagged = build(spec)
    run_worker_init(spec, flagged, info)
    assert flagged.user.initialized == ["function", 2]
    plain = SourceSpec("sequence", "sources.opening:Reopening")
    method = build(plain)
    run_worker_init(plain, method, info)
    assert method.user.initialized == ["method", 2]


def test_a_source_without_worker_init_needs_none() -> None:
    """Nothing happens where there is nothing to run."""
    spec = SourceSpec("sequence", "sources.good:Numbers")
    run_worker_init(spec, build(spec), WorkerInfo(0, 1))


def test_a_worker_init_that_raises_is_a_load_error() -> None:
    """The worker never says that it is ready."""
    spec = SourceSpec("sequence", "sources.good:Numbers", worker_init="sources.opening:refuse")
    with pytest.raises(LoadError, match=r"^--worker-init sources\.opening:refuse raised OSError: no disk$") as caught:
        run_worker_init(spec, build(spec), WorkerInfo(0, 1))
    assert "sources/opening.py" in caught.value.traceback


def test_a_dataset_source_is_indexed() -> None:
    """The pool treats both alike."""
    source = build(SourceSpec("dataset", "sources.good:Numbers", batch_size=2))
    assert isinstance(source, DatasetSource)
    assert isinstance(source, IndexedSource)
    assert isinstance(source.user, good.Numbers)
