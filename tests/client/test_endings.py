"""Trainers that end without a word: the others of their group do not wait for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from serving import Serving

ENDINGS = {
    "whole epochs": "for epoch in client.epochs(2): list(epoch)",
    "steps": "list(client.steps(13))",
    "exactly its length": "[next(taken) for taken in [iter(client)] for _ in range(len(client))]",
    "broken off": "for n, _ in enumerate(client):\n    if n == 7: break",
    "dropped": "def train():\n    [one for one, _ in zip(Client(sys.argv[1], **told), range(9))]\ntrain()",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_rank_that_just_ends_holds_up_no_other(ending: str) -> None:
    """Each of three does the same, at its own pace, and none closes its client."""
    program = (
        "import sys\nfrom enqueued import Client\ntold = dict(rank=int(sys.argv[2]), world_size=3, batch_timeout=20)\n"
    )
    program += f"client = Client(sys.argv[1], **told)\n{ENDINGS[ending]}\n"
    if ending == "dropped":
        program = program.replace("client = Client(sys.argv[1], **told)\n", "")
    with Serving("--sequence", "sources.counting:Slow", "--arg", "length=30") as daemon:
        ranks = [
            subprocess.Popen([sys.executable, "-c", program, daemon.endpoint, str(rank)], stderr=subprocess.PIPE)
            for rank in range(3)
        ]
        for rank in ranks:
            _, said = rank.communicate(timeout=30)
            assert rank.returncode == 0, said.decode()


def test_what_was_finished_is_told_when_the_program_ends() -> None:
    """A member of a group that runs through its loop leaves nothing to be done again."""
    program = "import sys\nfrom enqueued import Client\nclient = Client(sys.argv[1], group='g')\nlist(client)\n"
    with Serving("--sequence", "sources.counting:Counting", "--arg", "length=30") as daemon:
        subprocess.run([sys.executable, "-c", program, daemon.endpoint], timeout=30, check=True)
        with daemon.client(group="g", start="stored") as client:
            assert next(client.batches()).position == (1, 0)
