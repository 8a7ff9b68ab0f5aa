"""A source's spec, and the flags that say the same."""

from __future__ import annotations

from enqueued.source.spec import SourceSpec


def test_flags_say_the_same_as_the_spec() -> None:
    """What differs from the defaults becomes a flag, so that a command line can make the same batches again."""
    spec = SourceSpec("dataset", "mymod:Data", {"path": "/data", "size": 3}, batch_size=8, shuffle=True, seed=7)
    assert spec.flags() == [
        *("--dataset", "mymod:Data", "--arg", "path=/data", "--arg", "size=3"),
        *("--batch-size", "8", "--shuffle", "--seed", "7"),
    ]
