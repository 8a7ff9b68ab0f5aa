"""The enqueuer of indexed sources."""

from __future__ import annotations

from typing import Any

from enqueued.enqueuer import caller, threads
from enqueued.enqueuer.enqueuer import SequenceEnqueuer
from enqueued.enqueuer.runners import Runner, Setup


class OrderedEnqueuer(SequenceEnqueuer):
    """Gives the batches of a sequence, epoch after epoch, strictly in order, whatever the workers do.

    `sequence` has `__getitem__` and `__len__` (or Keras 3's `num_batches`); its length is read again in every epoch.
    `on_epoch_end` runs once per epoch in this program, when the last batch is taken and before any batch of the next
    epoch is made. With `shuffle` each epoch has an order of its own, which follows from the state of the global
    `random` at the start.
    """

    def __init__(self, sequence: Any, use_multiprocessing: bool = False, shuffle: bool = False) -> None:
        kind = type(sequence)
        if not hasattr(kind, "__getitem__") or not (hasattr(kind, "__len__") or hasattr(sequence, "num_batches")):
            raise TypeError(
                "OrderedEnqueuer takes what has __getitem__ and __len__, such as an enqueued.Sequence; "
                f"{kind.__name__} has not. For an iterator there is GeneratorEnqueuer"
            )
        super().__init__(sequence, use_multiprocessing)
        self.shuffle = shuffle

    def _set_up(self, workers: int, max_queue_size: int) -> Setup:
        return Setup.of(workers, max_queue_size, self.shuffle)

    def _run(self, setup: Setup) -> Runner:
        if not setup.workers:
            return caller.ordered(self.sequence, setup)
        if not self.use_multiprocessing:
            return threads.ordered(self.sequence, setup)
        from enqueued.enqueuer import processes  # threads do without all that it needs

        return processes.ordered(self.sequence, setup)
