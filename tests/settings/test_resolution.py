"""What settings come to, from flags, variables, a file and defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from enqueued.errors import ConfigError
from enqueued.settings import resolve

TWO = """
[daemon]
name = "sweep"
max_queue_bytes = "8G"

[stream.train]
sequence = "mymod:Train"
workers = 4
args = { path = "/data", size = 3 }

[stream.val]
sequence = "mymod:Val"
"""


@pytest.fixture
def two(tmp_path: Path) -> Path:
    path = tmp_path / "two.toml"
    path.write_text(TWO)
    return path


def write(folder: Path, text: str) -> Path:
    path = folder / "train.toml"
    path.write_text(text)
    return path


def test_flags_alone_make_one_stream() -> None:
    """Without a file there is one stream, named default, with what the flags say and the defaults else."""
    settings = resolve({"sequence": "m:A", "workers": "3", "args": ("a=1", "b=x=y")}, {})
    assert list(settings.streams) == ["default"]
    stream = settings.streams["default"]
    assert (stream.kind, stream.target, stream.workers, stream.args) == ("sequence", "m:A", 3, {"a": 1, "b": "x=y"})
    assert stream.max_queue_size == 10
    assert settings.origin("stream.default", "workers") == "flag --workers"
    assert settings.origin("stream.default", "args") == "flag --arg"
    assert settings.origin("stream.default", "max_queue_size") == "default"


def test_a_flag_goes_before_a_variable_before_the_file_before_the_default(tmp_path: Path) -> None:
    """Each layer gives what the ones before it do not, and every value knows where it is from."""
    path = write(tmp_path, '[stream.train]\nsequence = "m:A"\nworkers = 1\nseed = 1\nmax_queue_size = 1\n')
    settings = resolve(
        {"workers": "3"}, {"ENQUEUED_WORKERS": "2", "ENQUEUED_SEED": "2", "ENQUEUED_POOL": ""}, str(path)
    )
    train = settings.streams["train"]
    assert (train.workers, train.seed, train.max_queue_size, train.pool) == (3, 2, 1, "process")
    origins = [settings.origin("stream.train", key) for key in ("workers", "seed", "max_queue_size", "pool")]
    assert origins == ["flag --workers", "environment ENQUEUED_SEED", f"{path} [stream.train]", "default"]


def test_the_daemon_has_a_table_of_its_own(two: Path) -> None:
    """The daemon's keys come from [daemon], and sizes are read with their unit."""
    settings = resolve({}, {"ENQUEUED_NAME": "other"}, two)
    assert (settings.daemon.name, settings.daemon.max_queue_bytes) == ("other", 8 << 30)
    assert settings.origin("daemon", "name") == "environment ENQUEUED_NAME"


def test_a_variable_names_the_file(two: Path) -> None:
    """ENQUEUED_CONFIG stands for --config."""
    assert list(resolve({}, {"ENQUEUED_CONFIG": str(two)}).streams) == ["train", "val"]


def test_stream_flags_override_every_stream_of_the_file(two: Path) -> None:
    """Beside a file, flags and variables for streams are for all of them."""
    settings = resolve({"workers": "2"}, {"ENQUEUED_SEED": "7"}, two)
    assert [(each.workers, each.seed) for each in settings.streams.values()] == [(2, 7), (2, 7)]


def test_a_named_stream_alone_is_overridden(two: Path) -> None:
    """With --stream, flags for streams leave the others as they are."""
    settings = resolve({"workers": "2", "stream": "val"}, {}, two)
    assert [each.workers for each in settings.streams.values()] == [4, 2]


def test_a_named_stream_with_a_source_joins_those_of_the_file(two: Path) -> None:
    """A name that the file lacks is one more stream when the flags bring its source."""
    settings = resolve({"sequence": "m:Test", "stream": "test"}, {}, two)
    assert [each.target for each in settings.streams.values()] == ["mymod:Train", "mymod:Val", "m:Test"]


def test_a_mistyped_stream_is_refused(two: Path) -> None:
    """A name that the file lacks, without a source, gets the nearest one suggested."""
    with pytest.raises(ConfigError, match="no stream 'vall'; did you mean 'val'"):
        resolve({"workers": "2", "stream": "vall"}, {}, two)


def test_arguments_are_replaced_one_by_one(two: Path) -> None:
    """An --arg changes one argument of the file and keeps the others."""
    settings = resolve({"args": ("size=5",), "stream": "train"}, {}, two)
    assert settings.streams["train"].args == {"path": "/data", "size": 5}
    assert settings.origin("stream.train", "args") == f"flag --arg, over {two} [stream.train]"


def test_local_arguments_are_like_arguments(tmp_path: Path) -> None:
    """--local-arg, its variable and its table give arguments too, one over the other, kept apart from --arg."""
    path = write(tmp_path, '[stream.train]\nsequence = "m:A"\nlocal_args = { path = "/a", cache = "/c" }\n')
    settings = resolve({"local_args": ("path=/b",), "args": ("size=3",)}, {"ENQUEUED_LOCAL_ARGS": '{"tries": 2}'}, path)
    train = settings.streams["train"]
    assert (train.args, train.local_args) == ({"size": 3}, {"path": "/b", "cache": "/c", "tries": 2})
    assert settings.origin("stream.train", "local_args").startswith("flag --local-arg, over environment ENQUEUED_LOCAL")
    assert train.spec_fields()["local_args"] == train.local_args


def test_arguments_in_a_variable_are_json() -> None:
    """ENQUEUED_ARGS holds a JSON object."""
    settings = resolve({"sequence": "m:A"}, {"ENQUEUED_ARGS": '{"path": "/x", "sizes": [1, 2]}'})
    assert settings.streams["default"].args == {"path": "/x", "sizes": [1, 2]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[stream.train]\nsequence = "m:A"\nworker = 1', r"\[stream.train\]: unknown key 'worker'; did you mean 'work"),
        ('[stream.train]\nsequence = "m:A"\nmax-queue-size = 1', "did you mean 'max_queue_size'"),
        ('[stream.train]\nsequence = "m:A"\nname = "x"', r"unknown key 'name'; it belongs in \[daemon\]"),
        ("[stream.train]\nzzz = 1", "unknown key 'zzz'; known are sequence, dataset"),
        ("[daemon]\nworkers = 1", r"\[daemon\]: unknown key 'workers'; it belongs in \[stream.NAME\]"),
        ("[deamon]\nname = 'x'", r"unknown key or table 'deamon'; did you mean \[daemon\]"),
        ("[streams.train]\nsequence = 'm:A'", r"'streams'; did you mean \[stream.NAME\]"),
        ("workers = 1", r"unknown key 'workers' at the top; it belongs in \[stream.NAME\]"),
        ("[other]", r"known are \[daemon\] and \[stream.NAME\]"),
        ("[stream]\nworkers = 1", "a stream needs a name, and 'workers' belongs in"),
        ("stream = 1", "stream is not a table"),
        ("daemon = 1", "daemon is not a table"),
        ("[stream.'a b']\nsequence = 'm:A'", "a stream's name is"),
        ('[stream.train]\nworkers = "4"', r"workers = '4' \(.*\[stream.train\]\) is not a whole number from 1 to"),
        ("[stream.train]\nworkers = true", "workers = True .* is not a whole number"),
        ("[stream.train]\nworkers = 0", "workers = 0 .* from 1 to 4096"),
        ("[stream.train]\nshuffle = 1", "shuffle = 1 .* is not true or false"),
        ("[stream.train]\nargs = { when = 2020-01-01 }", "args = .* is not KEY=VALUE"),
        ("[stream.train]\nload_timeout = inf", "load_timeout = inf .* is not a number of seconds"),
        ("[daemon]\nbind = 'tcp://127.0.0.1:1'", "bind = 'tcp.*' .* is not a list in which each is an address"),
        ("[daemon", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """What a file says wrongly is named with the file, the table, the key and what would be right."""
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        resolve({}, {}, path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there is a configuration error that names it."""
    with pytest.raises(ConfigError, match=r"Cannot read the configuration file .*none\.toml: No such file"):
        resolve({}, {}, tmp_path / "none.toml")


def test_a_file_of_another_encoding_is_refused(tmp_path: Path) -> None:
    """A file that is not UTF-8 is a configuration error, not a traceback."""
    path = tmp_path / "latin.toml"
    path.write_bytes(b"# \xe9\n")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        resolve({}, {}, path)


@pytest.mark.parametrize(
    ("flags", "environ", "message"),
    [
        ({"workers": "0"}, {}, r"workers = '0' \(flag --workers\) is not a whole number from 1 to 4096, or \"auto\"\."),
        ({"workers": "many"}, {}, "flag --workers"),
        ({"args": ("a",)}, {}, r"args = .* \(flag --arg\) is not KEY=VALUE"),
        ({"name": "a/b"}, {}, "is not 1 to 64 letters"),
        ({"endpoint": "tcp://localhost:1"}, {}, 'endpoint = .* is not an address such as "ipc'),
        ({"endpoint": "ipc://@abstract"}, {}, "endpoint"),
        ({"bind": ("tcp://localhost:99999",)}, {}, "bind"),
        ({"socket_mode": "0888"}, {}, "socket_mode"),
        ({"state_file": "a\0b"}, {}, "state_file = .* is not a path"),
        ({"max_queue_bytes": "8X"}, {}, "max_queue_bytes"),
        ({"log_level": "loud"}, {}, "is not one of debug, info, warning, error"),
        ({}, {"ENQUEUED_MAKE_TIMEOUT": "-1"}, r"\(environment ENQUEUED_MAKE_TIMEOUT\)"),
        ({}, {"ENQUEUED_ARGS": "[1"}, "ENQUEUED_ARGS"),
        ({}, {"ENQUEUED_SHUFFLE": "perhaps"}, "is not true or false"),
        ({"local_args": ("a",)}, {}, r"local_args = .* \(flag --local-arg\) is not KEY=VALUE"),
        ({"reorder_window": "-1"}, {}, "reorder_window = '-1' .* from 0 to 1000000"),
        ({"epochs": "0"}, {}, r"epochs = '0' \(flag --epochs\) is not a whole number of at least 1"),
        ({"on_error": "ignore"}, {}, r'on_error = .* is not "raise", "skip" or "retry:N" with N from 1 to 1000'),
        ({"on_error": "retry:0"}, {}, "on_error"),
        ({"on_error": "retry:1001"}, {}, "on_error"),
        ({"on_error": "retry"}, {}, "on_error"),
        ({"stream": "a b"}, {}, "A stream's name"),
    ],
)
def test_a_wrong_value_is_refused(flags: dict[str, object], environ: dict[str, str], message: str) -> None:
    """What a flag or a variable says wrongly is named with its origin and what would be right."""
    with pytest.raises(ConfigError, match=message):
        resolve({"sequence": "m:A", **flags}, environ)


def test_a_nearly_right_variable_is_remarked() -> None:
    """A variable that is nearly a setting's is named; those that Kubernetes makes for a service are not."""
    environ = {"ENQUEUED_WORKER": "3", "ENQUEUED_SERVICE_HOST": "10.0.0.1", "ENQUEUED_PORT_80_TCP": "tcp://10.0.0.1:80"}
    remarks = resolve({"sequence": "m:A"}, environ).remarks
    assert remarks == ("ENQUEUED_WORKER does nothing; did you mean ENQUEUED_WORKERS?",)
