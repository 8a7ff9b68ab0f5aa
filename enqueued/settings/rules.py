"""What settings must say together: rules over more than one of them."""

from __future__ import annotations

import os

from enqueued.errors import ConfigError
from enqueued.settings.addresses import is_loopback
from enqueued.settings.layers import STREAM, Layer
from enqueued.settings.table import DaemonSettings, StreamSettings

KINDS = ("sequence", "dataset", "generator")

# the settings that mean something for some kinds of source only
MEANT_FOR = {
    "batch_size": ("dataset",),
    "drop_last": ("dataset",),
    "collate": ("dataset",),
    "shuffle": ("sequence", "dataset"),
    "replicas": ("generator",),
    "workers": ("sequence", "dataset"),
    "reorder_window": ("sequence", "dataset"),
    "on_error": ("sequence", "dataset"),
}


def check_daemon(daemon: DaemonSettings, given: Layer) -> None:
    """An address that other machines can reach is served only when somebody said that this is meant."""
    for address in daemon.bind:
        if not daemon.insecure and not is_loopback(address):
            raise ConfigError(
                f"bind = {address!r} ({given['bind'].origin}) can be reached from other machines, and there "
                "is neither encryption nor a login yet: whoever reaches it gets the batches. In a network where "
                "that is fine add --insecure; else bind tcp://127.0.0.1:PORT and forward it with ssh. Keys come "
                "in a later version."
            )


def check_source(name: str, stream: StreamSettings, given: Layer) -> None:
    """A stream has exactly one source, and only settings that mean something for it."""
    sources = [kind for kind in KINDS if getattr(stream, kind) is not None]
    if not sources:
        raise ConfigError(
            f"Stream {name!r} has no source: give one of --sequence, --dataset and --generator, such as "
            "--sequence mymod:MySeq, or a file with --config."
        )
    if len(sources) > 1:
        both = " and ".join(f"{kind} ({given[kind].origin})" for kind in sources)
        raise ConfigError(f"Stream {name!r} has more than one source: {both}. Keep one of them.")
    kind = stream.kind
    if kind == "dataset" and stream.batch_size is None:
        raise ConfigError(f"Stream {name!r} is a dataset and needs a batch size, such as --batch-size 32.")
    for key, kinds in MEANT_FOR.items():
        value = getattr(stream, key)
        if kind not in kinds and value != STREAM[key].default:
            hint = " A generator runs in one worker, unless it is told to run in several: --replicas N."
            raise ConfigError(
                f"{key} = {value!r} ({given[key].origin}) is for a {' or a '.join(kinds)}, and stream {name!r} "
                f"is a {kind}.{hint * (key == 'workers')}"
            )
    twice = ", ".join(key for key in stream.args if key in stream.local_args)
    if twice:
        raise ConfigError(
            f"Stream {name!r} has {twice} in args ({given['args'].origin}) and in local_args "
            f"({given['local_args'].origin}). Keep one: --local-arg if another value gives the same data."
        )
    if stream.app_dir and not os.path.isdir(stream.app_dir):
        raise ConfigError(f"app_dir = {stream.app_dir!r} ({given['app_dir'].origin}) is not a folder.")
