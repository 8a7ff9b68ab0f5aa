"""A saved state as plain data: what it says, what is refused, and which differences are named."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued import Client
from enqueued.client.state import State, differences
from enqueued.errors import ConfigError

POSITIONS = st.tuples(st.integers(0, 99), st.integers(0, 1 << 40))
PRINTS = st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.integers(), st.text(max_size=5)), max_size=3)
STATES = st.builds(
    State,
    fingerprint=PRINTS,
    epoch=st.integers(0, 99),
    index=st.integers(0, 1 << 40),
    ahead=st.lists(POSITIONS, max_size=3).map(tuple),
    missing=st.one_of(st.none(), st.lists(POSITIONS, max_size=3).map(tuple)),
    epochs_done=st.integers(0, 99),
    canary=st.one_of(st.none(), st.tuples(st.integers(0, 99), st.text(max_size=5))),
)
PLAIN: dict[str, Any] = State({"seed": 1, "args": {}}, 3, 117, canary=(3, "00ff")).to_plain()


@given(STATES)
def test_a_state_survives_any_file(state: State) -> None:
    """JSON and pickle; it is made of nothing else than dicts, lists, text, numbers, booleans and None."""
    plain = state.to_plain()
    assert State.from_plain(json.loads(json.dumps(plain))) == state
    assert State.from_plain(pickle.loads(pickle.dumps(plain))) == state
    assert json.loads(json.dumps(plain)) == plain


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": 2}, "version 2, and this enqueued knows 1: a newer one wrote it"),
        ({"version": "1"}, "version '1', and this enqueued knows 1"),
        ({"version": None}, "version None"),
        ({"epoch": -1}, "position has"),
        ({"epoch": 1 << 40}, "position has"),
        ({"index": 1.0}, "position has"),
        ({"index": True}, "position has"),
        ({"index": None}, "position has"),
        ({"fingerprint": "text"}, "fingerprint is 'text', and should be a dict"),
        ({"epochs_done": "2"}, "epochs_done is '2'"),
        ({"ahead": 5}, "ahead is 5, and should be a list"),
        ({"ahead": [[1]]}, r"ahead has \[1\]"),
        ({"ahead": [[1, "2"]]}, r"ahead has"),
        ({"missing": [[1, -2]]}, r"missing has"),
        ({"missing": {}}, r"missing is"),
        ({"canary": [1, 2]}, "canary is"),
        ({"canary": "00"}, "canary is"),
        ({"model": {}}, "has a 'model', which no state has"),
    ],
)
def test_a_state_that_was_spoilt_is_told(change: dict[str, Any], told: str) -> None:
    """With the key and what stands there."""
    with pytest.raises(ConfigError, match=told):
        State.from_plain(PLAIN | change)


@pytest.mark.parametrize("plain", [{}, [], 5, b"bytes", {"version": 1}, [["version", 1]]])
def test_what_is_no_state_is_told(plain: Any) -> None:
    """Before any daemon is looked for."""
    with pytest.raises(ConfigError, match=r"what state_dict\(\) gave"):
        Client("ipc:///nowhere.sock", state=plain)


def test_a_file_is_no_state() -> None:
    """It has to be loaded first."""
    for path in ("checkpoint.pt", Path("checkpoint.pt")):
        with pytest.raises(ConfigError, match=r"not a file: load .*checkpoint\.pt.* first"):
            Client("ipc:///nowhere.sock", state=path)  # type: ignore[arg-type]  # that is the mistake


def test_a_start_beside_a_state_is_refused() -> None:
    """Only one can say where to begin."""
    with pytest.raises(ConfigError, match="do not give start='live' beside it"):
        Client("ipc:///nowhere.sock", start="live", state=PLAIN)


def test_each_difference_is_named() -> None:
    """Arguments one by one; what only one side knows of is none."""
    was = {
        "kind": "dataset",
        "seed": 1,
        "batch_size": 8,
        "args": {"size": "224", "old": "1"},
        "collate": None,
        "gone": 1,
    }
    now = {
        "kind": "dataset",
        "seed": 2,
        "batch_size": 8,
        "args": {"size": "256", "new": "2"},
        "collate": "a:b",
        "more": 1,
    }
    assert differences(was, was) == {}
    assert list(differences(was, now).values()) == [
        "seed was 1 and is 2",
        "args.size was 224 and is 256",
        "args.old was 1 and is not given",
        "args.new was not given and is 2",
        "collate was none and is a:b",
    ]
    assert differences({"args": {}}, {"args": 5}) == {"args": "args was {} and is 5"}


@given(PRINTS, PRINTS)
def test_differences_are_found_both_ways(was: dict[str, Any], now: dict[str, Any]) -> None:
    """And what is equal is no difference."""
    assert differences(was, now).keys() == differences(now, was).keys()
    assert differences(was, now).keys() == {key for key in was.keys() & now.keys() if was[key] != now[key]}
