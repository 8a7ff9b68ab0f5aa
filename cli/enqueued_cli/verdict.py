"""What it means that batches are the same, or are not, and what to do."""

from __future__ import annotations


def verdict(
    *, beside: bool | None, anew: bool, between: bool, hash_seed: bool, threads: bool, forked: bool
) -> list[str]:
    """The conclusions, one for each cause.

    `beside` and `anew` say whether a batch differed beside others (None: a streamed source, which has no such way) and
    when the source was built anew, `between` that it did in later epochs alone and the source does something between
    epochs, `hash_seed` that it did not when the hash seed was the same. `threads` and `forked` say what workers are.
    """
    words = []
    if anew and hash_seed:
        words.append(
            "depends on the hash seed of the process: it goes through a set, or uses hash(). "
            "Go through sorted(...), or make a dict, which keeps its order."
        )
    elif anew and between:
        words.append(
            "another from epoch 1 on when it is built anew: between epochs the source draws from a generator that is "
            "seeded by nobody (an own default_rng() or random.Random()), or looks at the time. Draw there from "
            "enqueued.rng(), or from random and np.random, which are seeded for each epoch."
        )
    elif anew and beside is False and forked:
        words.append(
            "the same alone and beside others, but another in a second process: when the source is built it draws from "
            "a generator that is seeded by nobody (an own default_rng() or random.Random()), or looks at the time. "
            "Seed that generator, or draw from enqueued.rng(), or from random and np.random, which are seeded then."
        )
    elif anew:
        words.append(
            "another each time: it draws from a generator that is seeded by nobody (an own default_rng() or "
            "random.Random(), os.urandom), or depends on the time. Draw from enqueued.rng(), which is seeded for each "
            "position."
        )
    if beside and threads:
        words.append("with --pool thread random and np.random are not seeded for each position; enqueued.rng() is.")
    if beside and (hash_seed or not anew):
        words.append(
            "depends on what the worker made before, or on which worker it is: state that is kept between batches (a "
            "generator, a counter, an array that is changed in place), or get_worker_info().id. Draw from "
            "enqueued.rng(), which is seeded for each position, and copy what is changed."
        )
    if not words:
        words.append("deterministic: all of them are the same to the bit.")
    if beside is None:
        words.append("a generator only goes forward: its past, what has left the queue, cannot be made again.")
    return words
