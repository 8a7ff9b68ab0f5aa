"""A trainer that learns: ``python -m benchmarks.training SYSTEM`` trains a small network on photographs.

It says ``ready`` when all that it needs is imported, and is then told in a line of JSON where its batches are
(`feed`, what the system's function takes), where its checkpoint is, and after how many steps it is saved (`step`). With
`seconds` it is a new trainer: it tells of its first step when that is done, and at the end of all. Without, it is one
that was started again: it loads the checkpoint, makes `skip` batches go by, and tells of the step that comes then.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.program import tell
from benchmarks.systems import TRAINERS, Feed
from benchmarks.systems.trainers import needed

PATCH = 16
"""Pixels on each side of the squares that an image is cut into."""
UNITS = 64
CLASSES = 2
RATE = 0.02
WARM_UP = 5
"""Steps."""


class Network:
    """Patches of an image through one rectified layer, their mean, a softmax: gradient descent with momentum."""

    def __init__(self) -> None:
        rng, patch = np.random.default_rng(0), PATCH * PATCH * 3
        shapes = {"patch": (patch, UNITS), "bias": (UNITS,), "out": (UNITS, CLASSES)}
        self.weights = {
            name: (rng.normal(0, shape[0] ** -0.5, shape) if len(shape) > 1 else np.zeros(shape)).astype(np.float32)
            for name, shape in shapes.items()
        }
        self.speed = {name: np.zeros_like(weight) for name, weight in self.weights.items()}

    def learn(self, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
        """Take one step on a batch of float32 (n, 224, 224, 3) and int64 (n,); gives the loss."""
        count, across = len(x), x.shape[1] // PATCH
        cut = x.reshape(count, across, PATCH, across, PATCH, 3).transpose(0, 1, 3, 2, 4, 5)
        patches = cut.reshape(count * across * across, -1)
        hidden = np.maximum(patches @ self.weights["patch"] + self.weights["bias"], 0)
        mean = hidden.reshape(count, -1, UNITS).mean(axis=1)
        scores = mean @ self.weights["out"]
        scores -= scores.max(axis=1, keepdims=True)
        logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        wrong = np.exp(logs)
        wrong[np.arange(count), y] -= 1
        wrong /= count
        back = np.repeat(wrong @ self.weights["out"].T / across**2, across**2, axis=0) * (hidden > 0)
        gradients = {"patch": patches.T @ back, "bias": back.sum(axis=0), "out": mean.T @ wrong}
        for name, gradient in gradients.items():
            self.speed[name] = 0.9 * self.speed[name] - RATE * gradient
            self.weights[name] += self.speed[name]
        return float(-logs[np.arange(count), y].mean())

    def save(self, path: Path, state: dict[str, Any]) -> None:
        """Write the network, and where its trainer is in the data."""
        arrays: dict[str, Any] = {f"weight-{name}": weight for name, weight in self.weights.items()}
        arrays |= {f"speed-{name}": speed for name, speed in self.speed.items()}
        np.savez(path, state=json.dumps(state), **arrays)

    def load(self, path: Path) -> dict[str, Any]:
        """Read what `save` wrote; gives the place in the data."""
        with np.load(path) as saved:
            self.weights = {name: saved[f"weight-{name}"] for name in self.weights}
            self.speed = {name: saved[f"speed-{name}"] for name in self.speed}
            state: dict[str, Any] = json.loads(str(saved["state"]))
            return state


class Trainer:
    """Steps over batches; knows how long it has waited for them, and what it was fed last."""

    def __init__(self, network: Network, batches: Iterator[Any]) -> None:
        self._network, self._batches = network, batches
        self.steps = 0
        self.waited_s = 0.0
        self.losses: list[float] = []
        self.last: tuple[np.ndarray[Any, Any], ...] = ()

    def take(self) -> None:
        """One step."""
        began = time.perf_counter()
        self.last = tuple(map(np.asarray, next(self._batches)))
        self.waited_s += time.perf_counter() - began
        self.losses.append(self._network.learn(*self.last))
        self.steps += 1

    @property
    def sum(self) -> int:
        """A checksum of the last batch: whether two trainers were fed the same."""
        return zlib.crc32(np.ascontiguousarray(self.last[0]).data)


def train(feed: Feed, network: Network, seconds: float, step: int, checkpoint: Path) -> dict[str, Any]:
    """Train for so long after a warm-up, and at least one step more than `step`, after which all is saved."""
    trainer = Trainer(network, feed.batches)
    trainer.take()
    tell("first")
    while trainer.steps < WARM_UP:
        trainer.take()
    count, trainer.waited_s, saving_s, following = trainer.steps, 0.0, 0.0, 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began - saving_s) < seconds or trainer.steps <= step:
        trainer.take()
        if trainer.steps in (step, step + 1):
            stopped = time.perf_counter()
            if trainer.steps == step:
                network.save(checkpoint, feed.state())
            else:
                following = trainer.sum
            saving_s += time.perf_counter() - stopped
    steps = trainer.steps - count
    return {
        "batches_per_s": steps / took,
        "batches": steps,
        "seconds": took,
        "waited_share": trainer.waited_s / took,
        "first_loss": float(np.mean(trainer.losses[:WARM_UP])),
        "last_loss": float(np.mean(trainer.losses[-WARM_UP:])),
        "sum": following,
    }


def main(name: str) -> None:
    """See above."""
    system = TRAINERS[name]
    needed(system.needs)
    tell("ready")
    told = json.loads(sys.stdin.readline())
    network, checkpoint = Network(), Path(told["checkpoint"])
    if "seconds" in told:
        with system.open(**told["feed"]) as feed:
            tell(train(feed, network, told["seconds"], told["step"], checkpoint))
        return
    state = network.load(checkpoint)
    with system.open(**told["feed"], **({"state": state} if state else {})) as feed:
        for _ in range(told["skip"]):
            next(feed.batches)
        trainer = Trainer(network, feed.batches)
        trainer.take()
        tell({"sum": trainer.sum})


if __name__ == "__main__":
    main(sys.argv[1])
