from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.errors import LoadError
from enqueued.source.dataset import DatasetSource
from enqueued.source.load import build
from enqueued.source.permutation import shuffled
from enqueued.source.spec import SourceSpec


def dataset(target: str, **fields: Any) -> DatasetSource:
    source = build(SourceSpec("dataset", f"sources.{target}", **fields))
    assert isinstance(source, DatasetSource)
    return source


def test_samples_are_put_together_in_order() -> None:
    """torch's Dataset unmodified, its tensors as arrays; the last batch is what is left."""
    source = dataset("torch_like:Images", batch_size=4)
    assert source.length() == 3
    batches = [source.make(0, index) for index in range(3)]
    assert [batch["label"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batches[1]["image"].shape == (4, 2, 2)
    assert batches[1]["image"].dtype == np.uint8


@given(st.integers(1, 60), st.integers(1, 20), st.booleans(), st.booleans())
def test_an_epoch_has_each_sample_once(size: int, batch_size: int, shuffle: bool, drop_last: bool) -> None:
    """For any sizes; with --drop-last all but a short rest, and an error where that leaves nothing."""
    spec = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last, "seed": 9, "args": {"size": size}}
    if drop_last and size < batch_size:
        with pytest.raises(LoadError, match=rf"has {size} samples, less than one batch of {batch_size}"):
            dataset("bad:Sized", **spec)
        return
    source = dataset("bad:Sized", **spec)
    batches = [source.make(2, index) for index in range(source.length())]
    kept = size // batch_size * batch_size if drop_last else size
    order = shuffled(9, 2, size, 0, kept).tolist() if shuffle else list(range(kept))
    assert np.concatenate(batches).tolist() == order
    assert all(len(batch) == batch_size for batch in batches[:-1])


@pytest.mark.parametrize("index", [-1, 3, 100])
def test_there_is_no_batch_beyond_the_end(index: int) -> None:
    """An index outside the epoch is an error, not an empty batch."""
    with pytest.raises(IndexError, match="10 samples in batches of 4"):
        dataset("torch_like:Images", batch_size=4).make(0, index)


def test_samples_are_fetched_at_once_where_the_dataset_can() -> None:
    """torch's __getitems__ gets the list of a batch's indices, as Python ints."""
    source = dataset("torch_like:Fetching", batch_size=2, shuffle=True, seed=1)
    made = [source.make(0, index).tolist() for index in range(3)]
    order = shuffled(1, 0, 5, 0, 5).tolist()
    assert source.user.asked == [order[0:2], order[2:4], order[4:]]
    assert made == [[10 * one for one in part] for part in source.user.asked]
    assert type(source.user.asked[0][0]) is int


def test_a_collate_of_the_users_gets_the_samples() -> None:
    """`--collate mod:fn` replaces the default."""
    source = dataset("good:batches", batch_size=2, collate="sources.bad:collate_nothing")
    batch = source.make(0, 0)
    assert batch[0] == "mine"
    assert np.array_equal(batch[2], np.ones(2))


def test_samples_that_do_not_fit_are_named() -> None:
    """The error of the default collate comes out as it is."""
    with pytest.raises(ValueError, match="pad them or pass --collate"):
        dataset("ragged:Ragged", batch_size=2).make(0, 0)
