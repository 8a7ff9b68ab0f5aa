"""Train on handwritten digits whose batches are made, and distorted anew in each epoch, by a daemon.

::

    enqueued serve --sequence digits:Digits --app-dir examples --workers 2 --shuffle --seed 1     one terminal
    python examples/digits.py train                                                               another
    python examples/digits.py demo                                                                both, and an end

``train --checkpoint FILE`` saves the network and the place in the data every ten steps. Kill it anywhere and type it
again: it goes on there, and its losses (``--losses FILE`` writes each of them down) are the same to the last bit.

The images are the 1797 real ones of 8 x 8 pixels that scikit-learn carries (`sklearn.datasets.load_digits`, from the
UCI repository's optical recognition of handwritten digits). Needs ``pip install "enqueued[demo]"``.
"""
# ruff: noqa: T201 - a program that shows something prints it

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

HELD_OUT = 360
ENOUGH = 0.95
SAVE_EVERY = 10  # steps


class Digits:
    """A Sequence as Keras knows it: batch `index` as `(x, y)`, float32 of `(n, 8, 8)` in 0 to 1, and int64 of `(n,)`.

    `split` is "train", with every image turned, shifted and made noisy at random, or "held-out", as they are.
    """

    def __init__(self, split: str = "train", batch_size: int = 64) -> None:
        images, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(7).permutation(len(labels))  # the same split in every process
        chosen = {"train": order[HELD_OUT:], "held-out": order[:HELD_OUT]}[split]
        self.x = (images[chosen] / 16).reshape(-1, 8, 8).astype(np.float32)
        self.y = labels[chosen].astype(np.int64)
        self.batch_size = batch_size
        self.distorted = split == "train"

    def __len__(self) -> int:
        """How many batches an epoch has; the last one may be smaller."""
        return -(-len(self.y) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Makes one batch; it uses the global generator, which the daemon seeds for every position."""
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        x = self.x[rows]
        return distort(x) if self.distorted else x, self.y[rows]


def distort(images: np.ndarray) -> np.ndarray:
    """Turns each image by up to 12 degrees, shifts it by up to 0.7 pixels, and adds noise."""
    n = len(images)
    angle = np.radians(np.random.uniform(-12, 12, (n, 1, 1)))
    shift = np.random.uniform(-0.7, 0.7, (2, n, 1, 1))
    row, column = np.mgrid[0:8, 0:8] - 3.5
    # where each pixel comes from, within a frame of zeros so that the four neighbours always exist
    top = np.clip(np.cos(angle) * row - np.sin(angle) * column + shift[0] + 4.5, 0, 8.999)
    left = np.clip(np.sin(angle) * row + np.cos(angle) * column + shift[1] + 4.5, 0, 8.999)
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    i, j, which = top.astype(int), left.astype(int), np.arange(n)[:, None, None]
    down, right = top - i, left - j
    upper = framed[which, i, j] * (1 - right) + framed[which, i, j + 1] * right
    lower = framed[which, i + 1, j] * (1 - right) + framed[which, i + 1, j + 1] * right
    noise = np.random.normal(0, 0.03, images.shape)
    return np.asarray(upper * (1 - down) + lower * down + noise, np.float32)


class Network:
    """A layer of 96 rectified units and a softmax over ten digits, trained by gradient descent with momentum."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.weights = [
            rng.normal(0, np.sqrt(2 / 64), (64, 96)),
            np.zeros(96),
            rng.normal(0, np.sqrt(1 / 96), (96, 10)),
            np.zeros(10),
        ]
        self.speed = [np.zeros_like(weight) for weight in self.weights]
        self.steps = 0

    def scores(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gives the flat input, the hidden layer and the logarithms of the ten probabilities."""
        flat = x.reshape(len(x), 64)
        hidden = np.maximum(flat @ self.weights[0] + self.weights[1], 0)
        raw = hidden @ self.weights[2] + self.weights[3]
        raw -= raw.max(axis=1, keepdims=True)
        return flat, hidden, raw - np.log(np.exp(raw).sum(axis=1, keepdims=True))

    def learn(self, x: np.ndarray, y: np.ndarray, rate: float) -> float:
        """Takes one step on a batch and returns its loss."""
        flat, hidden, logs = self.scores(x)
        wrong = np.exp(logs)
        wrong[np.arange(len(y)), y] -= 1
        wrong /= len(y)
        back = (wrong @ self.weights[2].T) * (hidden > 0)
        gradients = [flat.T @ back, back.sum(axis=0), hidden.T @ wrong, wrong.sum(axis=0)]
        for weight, speed, gradient in zip(self.weights, self.speed, gradients, strict=True):
            speed *= 0.9
            speed -= rate * gradient
            weight += speed
        self.steps += 1
        return float(-logs[np.arange(len(y)), y].mean())

    def save(self, path: Path, state: dict[str, Any]) -> None:
        """Writes the network and where its trainer is in the data, as a whole or not at all."""
        arrays: dict[str, Any] = {f"weight{n}": weight for n, weight in enumerate(self.weights)}
        arrays |= {f"speed{n}": speed for n, speed in enumerate(self.speed)}
        arrays |= {"steps": self.steps, "state": json.dumps(state)}
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez(unfinished, **arrays)
        os.replace(unfinished, path)

    def load(self, path: Path) -> dict[str, Any]:
        """Reads what `save` wrote; returns the place in the data."""
        with np.load(path) as saved:
            self.weights = [saved[f"weight{n}"] for n in range(len(self.weights))]
            self.speed = [saved[f"speed{n}"] for n in range(len(self.speed))]
            self.steps = int(saved["steps"])
            state: dict[str, Any] = json.loads(str(saved["state"]))
            return state

    def accuracy(self, x: np.ndarray, y: np.ndarray) -> float:
        """The share of `x` that is recognised."""
        return float((self.scores(x)[2].argmax(axis=1) == y).mean())


def fit(
    epochs: Any,
    count: int,
    network: Network | None = None,
    first: int = 0,
    after_step: Callable[[float], None] = lambda loss: None,
) -> float:
    """Trains up to epoch `count` on batches, wherever they come from; returns the accuracy on the held-out images.

    `first` is the number of the first of these epochs, and `after_step` is told the loss of each step.
    """
    network, held_out = network or Network(), Digits("held-out")
    for number, epoch in enumerate(epochs, first):
        rate = 0.15 * (1 + np.cos(np.pi * number / count)) / 2
        losses = []
        for x, y in epoch:
            losses.append(network.learn(x, y, rate))
            after_step(losses[-1])
        if number % 5 == 4 or number + 1 == count:
            accuracy = network.accuracy(held_out.x, held_out.y)
            loss = float(np.mean(losses)) if losses else float("nan")
            print(f"epoch {number + 1:2}   loss {loss:.3f}   held-out accuracy {accuracy:6.2%}", flush=True)
    return network.accuracy(held_out.x, held_out.y)


def train(count: int, checkpoint: Path | None = None, written: Path | None = None) -> int:
    """Trains from the daemon of this host, from the checkpoint on if there is one."""
    from enqueued import Client

    began_s = time.monotonic()
    network = Network()
    state = network.load(checkpoint) if checkpoint is not None and checkpoint.exists() else None
    with Client(state=state) as client:

        def after_step(loss: float) -> None:
            if written is not None:
                with written.open("a") as file:
                    file.write(f"{network.steps} {loss.hex()}\n")
            if checkpoint is not None and network.steps % SAVE_EVERY == 0:
                network.save(checkpoint, client.state_dict())

        first = state["epoch"] if state else 0
        accuracy = fit(client.epochs(count), count, network, first, after_step)
    print(f"{accuracy:.2%} of {HELD_OUT} held-out digits recognised, in {time.monotonic() - began_s:.1f} s")
    return 0 if accuracy >= ENOUGH else 1


def demo(count: int) -> int:
    """Starts a daemon, trains from it in another process, shows its stats and stops it."""
    here = Path(__file__).resolve()
    with tempfile.TemporaryDirectory(prefix="enqueued-") as runtime:
        # settings and a place of its own, so that a daemon that already serves on this host is left alone; and what is
        # typed is found beside this interpreter, whose environment need not be active
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ENQUEUED_")}
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        environ |= {"RUNTIME_DIRECTORY": runtime, "PATH": programs}

        def start(*command: str) -> subprocess.Popen[bytes]:
            print(f"\n$ {shlex.join(command)}", flush=True)
            program = sys.executable if command[0] == "python" else command[0]
            return subprocess.Popen([program, *command[1:]], cwd=here.parent.parent, env=environ)

        source = ["--sequence", "digits:Digits", "--app-dir", "examples", "--workers", "2"]
        daemon = start("enqueued", "serve", *source, "--shuffle", "--seed", "1")
        try:
            trainer = start("python", "examples/digits.py", "train", "--epochs", str(count))
            while trainer.poll() is None and daemon.poll() is None:
                time.sleep(0.05)
            if daemon.returncode is not None:
                trainer.terminate()  # nobody is left to feed it
            trained = trainer.wait(timeout=60)
            shown = start("enqueued", "stats").wait(timeout=60)
        finally:
            print(f"\n$ kill -TERM {daemon.pid}      # the daemon drains, and ends", flush=True)
            daemon.send_signal(signal.SIGTERM)
            try:
                stopped = daemon.wait(timeout=60)
            except subprocess.TimeoutExpired:
                daemon.kill()
                stopped = daemon.wait()
    print(f"\nexit codes: trainer {trained}, stats {shown}, daemon {stopped}")
    return 0 if trained == shown == stopped == 0 else 1


def main() -> int:
    """Runs one of the two."""
    parser = argparse.ArgumentParser(description="Recognise handwritten digits, with batches from a daemon.")
    parser.add_argument("what", choices=["train", "demo"])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--checkpoint", type=Path, help="save here every ten steps, and go on from there")
    parser.add_argument("--losses", type=Path, help="write the loss of each step here")
    chosen = parser.parse_args()
    if chosen.what == "demo":
        return demo(chosen.epochs)
    return train(chosen.epochs, chosen.checkpoint, chosen.losses)


if __name__ == "__main__":
    sys.exit(main())
