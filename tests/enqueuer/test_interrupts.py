"""A consumer that is interrupted in the midst of `next`, as Ctrl-C and time limits do it."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
from collections import deque
from collections.abc import Iterator

import pytest

import sequences
from enqueued import OrderedEnqueuer
from waiting import until

pytestmark = pytest.mark.timeout(60)
INTERRUPTS = 300


class Interrupted(Exception):
    """What the handler raises."""


class Armed:
    """Whether the next signal interrupts this thread; it is plain, for a handler may come at any moment."""

    on = False


@pytest.fixture
def armed() -> Iterator[Armed]:
    """Signals come again and again."""
    armed, over = Armed(), threading.Event()

    def interrupt(number: int, frame: object) -> None:
        if armed.on:
            armed.on = False
            raise Interrupted

    def send() -> None:
        while not over.wait(random.uniform(0.0005, 0.005)):
            os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield armed
    finally:
        armed.on = False
        over.set()
        sender.join()
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupted_consumer_leaves_no_slot_behind(armed: Armed) -> None:
    """Batches come in order, each once; at most the one that was on its way to it is lost with an interrupt."""
    length = 1000
    with OrderedEnqueuer(sequences.Wide(length), use_multiprocessing=True) as enqueuer:
        enqueuer.start(2, 5)
        interrupts = lost = 0
        expected = -1
        batch = None
        while interrupts < INTERRUPTS:
            try:
                batches = enqueuer.get()
                armed.on = True
                while True:
                    batch = next(batches)
                    number = int(batch[-1])
                    ahead = (number - expected - 1) % length
                    assert ahead <= interrupts - lost
                    lost += ahead
                    expected = number
            except Interrupted:
                interrupts += 1
        del batch, batches
        gc.collect()
        engine = enqueuer._runner._engine  # type: ignore[union-attr] # it is running, in processes
        leases = engine.feed.stream.members["consumer"].leases
        until(lambda: len(leases) == len(engine.items), 10, "every slot has come back that the consumer does not hold")
        assert lost < INTERRUPTS / 2


def test_what_is_taken_after_an_interrupt_stays_the_consumers_own() -> None:
    """Though it was looked at before, and let go of: it is not written again, and what is changed in it stays."""
    with OrderedEnqueuer(sequences.Things(1000), use_multiprocessing=True) as enqueuer:
        enqueuer.start(2, 5)
        held: deque[tuple[int, sequences.Thing]] = deque(maxlen=4)
        for number in range(INTERRUPTS):
            sequences.Thing.refuse = True
            with pytest.raises(InterruptedError):
                next(enqueuer.get())
            thing = next(enqueuer.get())
            assert (thing.array == number).all()
            thing.array[:] = -number
            held.append((number, thing))
            assert all((one.array == -before).all() for before, one in held)
