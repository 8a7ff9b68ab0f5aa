"""A trainer as a process: it takes one epoch, or its share of one, notes it in a ledger, and ends.

``python member.py ENDPOINT LEDGER '{"group": "red"}'``: the last are more arguments of `Client`.
"""

from __future__ import annotations

import json
import sys

from enqueued import Client


def main(endpoint: str, ledger: str, arguments: str) -> None:
    """Take one epoch; a member of a group that was started anew may find that it is over."""
    with Client(endpoint, ledger=ledger, batch_timeout=60, **json.loads(arguments)) as client:
        if client.epoch == 0:
            for _ in client:
                pass


if __name__ == "__main__":
    main(*sys.argv[1:])
