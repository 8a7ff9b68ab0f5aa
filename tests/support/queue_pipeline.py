"""A queue and its operations, by whose names a QueueRunnerDef finds them in any process."""

from __future__ import annotations

from enqueued.enqueuer.fifo import Queue

numbers = Queue(3, "queue_pipeline:numbers")
plain = Queue(3, "plain")
closed: list[str] = []
not_callable = 3

_source = iter(range(10))


class Reader:
    """Operations may be attributes of attributes."""

    @staticmethod
    def read() -> None:
        """The next number; StopIteration at the end becomes the end of the queue."""
        from enqueued.errors import OutOfRangeError

        try:
            numbers.enqueue(next(_source))
        except StopIteration:
            raise OutOfRangeError(None, None, "no more numbers") from None


def close() -> None:
    """A close operation of its own."""
    closed.append("closed")
    numbers.close()


def cancel() -> None:
    """A cancel operation of its own."""
    closed.append("cancelled")
