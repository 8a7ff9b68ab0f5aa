"""A source's spec, the flags that say the same, and what a saved state compares of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.errors import LoadError
from enqueued.settings.layers import STREAM
from enqueued.source.construction import construct
from enqueued.source.spec import SourceSpec

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def opened(path: str, size: int = 1) -> tuple[str, int]:
    """Stands for a source: what it was called with."""
    return path, size


def test_flags_say_the_same_as_the_spec() -> None:
    """What differs from the defaults becomes a flag, so that a command line can make the same batches again."""
    spec = SourceSpec(
        "dataset",
        "mymod:Data",
        {"path": "/data", "size": 3},
        local_args={"cache": "/tmp/a b", "tries": 2},
        batch_size=8,
        shuffle=True,
        seed=7,
    )
    assert spec.flags() == [
        *("--dataset", "mymod:Data", "--arg", "path=/data", "--arg", "size=3"),
        *("--local-arg", "cache=/tmp/a b", "--local-arg", "tries=2"),
        *("--batch-size", "8", "--shuffle", "--seed", "7"),
    ]


@given(VALUES, st.text())
def test_arguments_read_back_from_flags(value: Any, text: str) -> None:
    """Any argument is read from its flag as what it was, also text that looks like a number."""
    said = SourceSpec("sequence", "m:A", {"a": value, "b": text}, local_args={"c": value}).flags()
    assert STREAM["args"].kind.check(said[3:6:2]) == {"a": value, "b": text}
    assert STREAM["local_args"].kind.check(said[7:]) == {"c": value}


def test_a_source_is_called_with_both_kinds_of_arguments() -> None:
    """Local arguments reach the constructor as the others do."""
    spec = SourceSpec("sequence", "m:opened", {"size": 3}, local_args={"path": "/data"})
    assert construct(spec, opened) == ("/data", 3)


def test_a_local_argument_that_does_not_fit_is_named_with_its_flag() -> None:
    """The refusal names the flag that the argument came from."""
    spec = SourceSpec("sequence", "m:opened", {"size": 3}, local_args={"paht": "/data"})
    with pytest.raises(LoadError, match="--local-arg paht='/data' is not one of them; did you mean path"):
        construct(spec, opened)


def test_a_spec_travels_as_plain_data() -> None:
    """Local arguments come through JSON like the rest."""
    spec = SourceSpec("sequence", "m:A", {"size": 3}, local_args={"path": "/data"})
    assert SourceSpec.from_plain(json.loads(json.dumps(spec.to_plain()))) == spec


@pytest.mark.parametrize(
    ("spec", "fingerprint"),
    [
        (
            SourceSpec("sequence", "m:A", {"size": 3, "path": "/d"}, seed=7, worker_init="m:w", app_dir="/x"),
            {"kind": "sequence", "source": "m:A", "args": {"size": "3", "path": '"/d"'}, "seed": 7, "shuffle": False},
        ),
        (
            SourceSpec("dataset", "m:D", local_args={"path": "/d"}, batch_size=8, shuffle=True),
            {
                "kind": "dataset",
                "source": "m:D",
                "args": {},
                "seed": 0,
                "shuffle": True,
                "batch_size": 8,
                "drop_last": False,
                "collate": None,
            },
        ),
        (
            SourceSpec("generator", "m:g", replicas=2),
            {"kind": "generator", "source": "m:g", "args": {}, "seed": 0, "replicas": 2},
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, SourceSpec) else "",
)
def test_a_fingerprint_holds_what_the_data_follow_from(spec: SourceSpec, fingerprint: dict[str, Any]) -> None:
    """It has the fields that matter for the kind of source, and nothing of where or how it runs."""
    assert spec.fingerprint() == fingerprint


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    """Equal arguments are equal text, whatever order their keys were written in."""
    one = SourceSpec("sequence", "m:A", {"sizes": {"a": 1, "b": 2}})
    other = SourceSpec("sequence", "m:A", {"sizes": {"b": 2, "a": 1}})
    assert one.fingerprint() == other.fingerprint()


def test_a_long_argument_is_compared_by_its_hash() -> None:
    """Up to 200 characters a value is its own text; above, it is a hash that still tells values apart."""
    short, long, other = ("x" * 198, "x" * 199, "x" * 198 + "y")
    args = SourceSpec("sequence", "m:A", {"short": short, "long": long, "other": other}).fingerprint()["args"]
    assert args["short"] == f'"{short}"'
    assert args["long"] == "sha256:" + hashlib.sha256(f'"{long}"'.encode()).hexdigest()[:16]
    assert args["other"].startswith("sha256:")
    assert args["other"] != args["long"]
