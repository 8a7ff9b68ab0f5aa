"""Random histories of trainers with a real daemon, beside a model of what the contract says of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from enqueued import Client
from serving import Serving

FLAGS = ("--workers", "2", "--max-queue-size", "6")
SOURCES: dict[str, tuple[tuple[str, ...], Callable[[int], int]]] = {
    "steady": (("--sequence", "sources.sized:Large", "--arg", "nbytes=100", "--arg", "length=7"), lambda epoch: 7),
    "growing": (("--sequence", "sources.sized:Growing"), lambda epoch: 3 + epoch),
}


class Model:
    """Where trainers of so many ranks are: in an epoch after so many steps, and whether they took one of it."""

    def __init__(self, size: int, length: Callable[[int], int], fixed: int | None) -> None:
        self.size = size
        self.length = length
        self.fixed = fixed
        self.epoch = fixed or 0
        self.step = 0
        self.moved = False

    def steps(self) -> int:
        """Of this epoch."""
        return self.length(self.epoch) // self.size

    def take(self, n: int) -> list[tuple[int, int]]:
        """The next steps, across the ends of epochs."""
        taken = []
        for _ in range(n):
            if self.step >= self.steps():
                self.next()
            taken.append((self.epoch, self.step))
            self.step += 1
            self.moved = True
        return taken

    def next(self) -> None:
        """The next epoch begins."""
        self.epoch, self.step, self.moved = self.epoch + (self.fixed is None), 0, False

    def begin(self) -> int:
        """A new iteration; how many steps it has."""
        if self.moved or self.step >= self.steps():
            self.next()
        return self.steps() - self.step

    def stand(self) -> tuple[int, int]:
        """The position of a state."""
        if self.step >= self.steps():
            return self.epoch + (self.fixed is None), 0
        return self.epoch, self.step * self.size


def take(batches: Any, n: int | None = None) -> list[int]:
    """The numbers that batches tell."""
    return [int(number) for _, number in itertools.islice(batches, n)]


def _steps(n: int, client: Client) -> list[int]:
    return take(client.steps(n))


def _part(n: int, client: Client) -> list[int]:
    return take(iter(client), n)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("source", SOURCES)
def test_random_histories_are_as_the_contract_says(source: str, size: int, seed: int) -> None:
    """Steps, breaks, whole epochs, exact lengths, states to and fro, and daemons that are killed."""
    chance = random.Random(f"{source} {size} {seed}")
    fixed = chance.choice([None, None, 1])
    flags, length = SOURCES[source]
    model = Model(size, length, fixed)
    saved: list[tuple[dict[str, Any], Model]] = []
    with Serving(*flags, *FLAGS) as daemon, ThreadPoolExecutor(size) as pool:

        def ranks(**arguments: Any) -> list[Client]:
            group = f"g{chance.random()}"
            whole: list[dict[str, Any]] = [{"group": group, "rank": rank, "world_size": size} for rank in range(size)]
            return [daemon.client(fixed_epoch=fixed, **arguments, **(whole[rank] if size > 1 else {}))
                    for rank in range(size)]  # fmt: skip

        def check(function: Callable[[Client], list[int]], expected: list[tuple[int, int]]) -> None:
            for rank, taken in enumerate(pool.map(function, clients)):
                assert taken == [step * size + rank for _, step in expected]

        clients = ranks()
        for _ in range(25):
            deed = chance.choice(["steps", "steps", "break", "epoch", "exact", "save", "load", "new", "kill"])
            if deed == "steps":
                n = chance.randint(0, 9)
                check(partial(_steps, n), model.take(n))
            elif deed == "break":
                n = chance.randint(0, model.begin())
                check(partial(_part, n), model.take(n))
            elif deed == "epoch":
                expected = model.take(model.begin())
                model.next()
                check(take, expected)
            elif deed == "exact":
                n = model.begin()
                check(partial(_part, n), model.take(n))
            elif deed == "save":
                states = list(pool.map(Client.state_dict, clients))
                assert [(state["epoch"], state["index"]) for state in states] == [model.stand()] * size
                then = Model(size, length, fixed)
                then.epoch, then.step = states[0]["epoch"], states[0]["index"] // size
                saved.append((states[0], then))
            elif deed == "kill" and chance.random() < 0.5:
                daemon.kill()
                daemon.start()
            elif saved and deed in ("load", "new"):
                state, then = chance.choice(saved)
                model = Model(size, length, fixed)
                model.epoch, model.step = then.epoch, then.step
                if deed == "load":
                    list(pool.map(Client.load_state_dict, clients, [state] * size))
                else:
                    for client in clients:
                        client.close()
                    clients = ranks(state=state)
        for client in clients:
            client.close()
