"""The table of settings: each one is declared here, once."""

# ruff: noqa: RUF009 - `setting` returns a dataclasses.field, which is made for being called here

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from enqueued.settings.addresses import is_ipc, is_tcp
from enqueued.settings.declaration import setting
from enqueued.settings.kinds import Arguments, Choice, Seconds, Several, Size, Switch, Text, Whole

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MODE = re.compile(r"0?[0-7]{3}")
_ON_ERROR = re.compile(r"raise|skip|retry:(?P<times>[1-9]\d{0,2}|1000)")


def is_name(text: str) -> bool:
    """Whether a daemon or a stream may have this name: it becomes part of paths and addresses."""
    return _NAME.fullmatch(text) is not None


NAME = Text("1 to 64 letters, digits, dots, dashes or underscores", "NAME", is_name)
TARGET = Text("an import path such as mymod:MySeq", "MOD:ATTR")
ENDPOINT = Text('an address such as "ipc:///run/enqueued/default.sock"', "ipc://PATH", is_ipc)
BIND = Text('an address such as "tcp://127.0.0.1:5555"', "tcp://HOST:PORT", is_tcp)
MODE = Text('octal digits as text, such as "0600" or "0660"', "MODE", lambda text: bool(_MODE.fullmatch(text)))
ON_ERROR = Text(
    '"raise", "skip" or "retry:N" with N from 1 to 1000',
    "raise|skip|retry:N",
    lambda text: bool(_ON_ERROR.fullmatch(text)),
)
SPEC_FIELDS = (
    "args",
    "local_args",
    "app_dir",
    "batch_size",
    "drop_last",
    "collate",
    "shuffle",
    "seed",
    "replicas",
    "worker_init",
)
ONE_OF_THREE = "a stream needs one of sequence, dataset and generator"
FOLDER = Text("a path", "FOLDER", lambda text: "\0" not in text)
FILE = Text("a path", "FILE", lambda text: text != "" and "\0" not in text)


@dataclass(frozen=True)
class DaemonSettings:
    """What one daemon needs to know, whatever it serves."""

    TABLE: ClassVar[str] = "daemon"

    name: str = setting("default", NAME, "The daemon's name; clients on this host find it by this.")
    endpoint: str | None = setting(
        None,
        ENDPOINT,
        "Where clients on this host connect.",
        unset="NAME.sock in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/enqueued, /run/enqueued or a folder in /tmp",
    )
    bind: tuple[str, ...] = setting((), Several(BIND), "More addresses, for clients on other hosts.")
    insecure: bool = setting(
        False, Switch(), "Serve addresses that other machines can reach, without encryption and to anybody."
    )
    socket_mode: str = setting("0600", MODE, "Who may connect on this host: the mode of the socket files.")
    max_queue_bytes: int | None = setting(
        None,
        Size(1 << 20),
        "Shared memory for batches, for all streams together.",
        unset="a quarter of the memory that is available at start",
    )
    max_clients: int = setting(1000, Whole(1, 100_000), "How many clients may be connected at a time.")
    state_file: str | None = setting(
        None,
        FILE,
        "Where the daemon remembers where named groups stand.",
        unset="NAME.state in $STATE_DIRECTORY, or beside the socket",
    )
    graceful_timeout: float = setting(
        10.0, Seconds(), "How long clients may take to finish their batches when the daemon stops."
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", Choice(("debug", "info", "warning", "error")), "The least that is logged, on standard error."
    )

    @property
    def socket_permissions(self) -> int:
        """`socket_mode` as a number for `os.chmod`."""
        return int(self.socket_mode, 8)


@dataclass(frozen=True)
class StreamSettings:
    """What one stream needs to know: its source, its workers and its queue."""

    TABLE: ClassVar[str] = "stream"

    sequence: str | None = setting(None, TARGET, "The source is a Sequence: its items are batches.", unset=ONE_OF_THREE)
    dataset: str | None = setting(
        None, TARGET, "The source is a dataset: its items are single samples.", unset=ONE_OF_THREE
    )
    generator: str | None = setting(
        None, TARGET, "The source is a generator or an iterable of batches.", unset=ONE_OF_THREE
    )
    args: dict[str, Any] = setting(
        {},
        Arguments(),
        "Arguments that the source is called with; a value is read as JSON if it is JSON, else as text.",
    )
    local_args: dict[str, Any] = setting(
        {},
        Arguments(),
        "More arguments for the source, which a saved state does not compare: paths, cache folders.",
    )
    app_dir: str = setting("", FOLDER, "The folder to import from; empty for the working directory.")
    batch_size: int | None = setting(
        None, Whole(1), "Samples in one batch of a dataset.", unset="needed with a dataset, and only there"
    )
    drop_last: bool = setting(False, Switch(), "Leave out a dataset's last batch when it is not full.")
    collate: str | None = setting(
        None,
        TARGET,
        "What makes one batch of a dataset's samples.",
        unset="arrays and numbers are stacked, through tuples and dicts",
    )
    shuffle: bool = setting(False, Switch(), "Take a dataset's samples, or a sequence's batches, in random order.")
    seed: int = setting(0, Whole(0, 2**63 - 1), "What order and random numbers follow from.")
    epochs: int | None = setting(
        None, Whole(1), "After how many epochs the stream ends for everybody.", unset="it never ends"
    )
    replicas: int = setting(1, Whole(1, 4096), "How many copies of a generator run side by side.")
    worker_init: str | None = setting(
        None,
        TARGET,
        "A function that each worker calls when it starts, as fn(source, info).",
        unset="the source's own worker_init, if any",
    )
    workers: int | Literal["auto"] = setting(
        "auto",
        Whole(1, 4096, word="auto"),
        "How many workers make batches; auto: one for each usable core. Streams of a daemon share the largest number.",
    )
    pool: Literal["process", "thread"] = setting(
        "process",
        Choice(("process", "thread")),
        "What workers are: processes, or threads of one process, in which only enqueued.rng() is reproducible.",
    )
    start_method: Literal["auto", "zygote", "spawn"] = setting(
        "auto",
        Choice(("auto", "zygote", "spawn")),
        "How workers start: forked from a zygote, which loaded the source once, or each spawned afresh.",
    )
    max_queue_size: int = setting(10, Whole(1, 1_000_000), "How many batches are kept ready.")
    reorder_window: int = setting(
        0,
        Whole(0, 1_000_000),
        "How many batches a ready one may overtake, so that a slow one does not hold up the line.",
    )
    max_generations: int = setting(
        4, Whole(1, 1000), "How many epochs are kept loaded when the source has on_epoch_end."
    )
    load_timeout: float = setting(300.0, Seconds(0.001), "How long loading the source may take.")
    make_timeout: float = setting(
        0.0, Seconds(), "How long one batch may take before its worker is replaced; 0 for any time."
    )
    on_error: str = setting(
        "raise",
        ON_ERROR,
        "When the source raises: tell the trainer, leave the batch out, or try N times more and then tell the trainer.",
    )
    lag_timeout: float = setting(10.0, Seconds(0.001), "How long other groups wait for one that takes no batch.")
    reload: bool = setting(
        False, Switch(), "Watch the source's files and load them again at once when they change; for development."
    )

    @property
    def kind(self) -> Literal["sequence", "dataset", "generator"]:
        """Which of the three kinds of source this is."""
        if self.sequence is not None:
            return "sequence"
        return "dataset" if self.dataset is not None else "generator"

    @property
    def target(self) -> str:
        """The import path of the source."""
        return self.sequence or self.dataset or self.generator or ""

    @property
    def worker_count(self) -> int:
        """`workers` as a number: with ``auto``, the usable cores; for a generator, its replicas."""
        if self.kind == "generator":
            return self.replicas
        return usable_cores() if self.workers == "auto" else self.workers

    @property
    def retries(self) -> int:
        """How many times more a batch is tried that the source raised for; 0 without ``retry:N``."""
        match = _ON_ERROR.fullmatch(self.on_error)
        return int(match["times"] or 0) if match else 0

    @property
    def skips(self) -> bool:
        """Whether a batch that the source raised for is left out."""
        return self.on_error == "skip"

    def spec_fields(self) -> dict[str, Any]:
        """The keyword arguments of a `SourceSpec`."""
        return {"kind": self.kind, "target": self.target} | {name: getattr(self, name) for name in SPEC_FIELDS}


def usable_cores() -> int:
    """The cores that this process may use, which a container or `taskset` may hold below the machine's."""
    if hasattr(os, "sched_getaffinity"):  # Linux only; the package imports everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
