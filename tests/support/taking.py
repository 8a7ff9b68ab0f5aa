"""Taking an epoch with errors in it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from enqueued import Client
from enqueued.errors import SourceError


def taken(client: Client) -> Iterator[int | SourceError]:
    """An epoch's numbers, with errors in their places."""
    epoch = iter(client)
    while True:
        try:
            batch = next(epoch)
        except StopIteration:
            return
        except SourceError as error:
            yield error
        else:
            yield int(np.asarray(batch[0] if isinstance(batch, tuple) else batch).flat[0])
