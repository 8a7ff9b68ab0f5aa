"""A QueueRunner that travels as a message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import queue_pipeline
from enqueued.enqueuer.definition import QueueRunnerDef
from enqueued.enqueuer.fifo import Queue
from enqueued.enqueuer.operation import name_of
from enqueued.enqueuer.runner import QueueRunner
from enqueued.errors import (
    CANCELLED,
    OUT_OF_RANGE,
    CancelledError,
    LoadError,
    OutOfRangeError,
    ProtocolError,
)

pytestmark = pytest.mark.timeout(50)
SUPPORT = Path(queue_pipeline.__file__).parent

SHIPPED = QueueRunnerDef(
    queue_name="queue_pipeline:numbers",
    enqueue_op_name=["queue_pipeline:Reader.read", "queue_pipeline:Reader.read"],
    close_op_name="queue_pipeline:numbers_Close",
    cancel_op_name="queue_pipeline:numbers_Close_1",
    queue_closed_exception_types=[OUT_OF_RANGE],
)


def read() -> None:
    """An operation that only a resolver finds."""


def known(*names: str) -> dict[str, Any]:
    """A queue and an operation of these names."""
    queue, op = names
    return {queue: Queue(1, queue), op: read}


def proto(runner: QueueRunner, scope: str | None = None) -> QueueRunnerDef:
    """Its definition, which it has."""
    definition = runner.to_proto(scope)
    assert definition is not None
    return definition


def test_a_definition_holds_the_names() -> None:
    """Of functions, of objects with a name, and of what was named; and the codes of the closed types."""
    runner = QueueRunner(
        Queue(1, "input/names"),
        [read, "queue_pipeline:Reader.read"],
        queue_closed_exception_types=(OutOfRangeError, CancelledError),
    )
    assert proto(runner) == QueueRunnerDef(
        queue_name="input/names",
        enqueue_op_name=["read", "queue_pipeline:Reader.read"],
        close_op_name="input/names_Close",
        cancel_op_name="input/names_Close_1",
        queue_closed_exception_types=[OUT_OF_RANGE, CANCELLED],
    )


def test_own_closing_operations_are_named_too() -> None:
    """As they were given."""
    ops = ("queue_pipeline:close", "queue_pipeline:cancel")
    definition = proto(QueueRunner(queue_pipeline.numbers, ["queue_pipeline:Reader.read"], *ops))
    assert (definition.close_op_name, definition.cancel_op_name) == ops
    again = QueueRunner.from_proto(definition)
    again.close_op()
    again.cancel_op()
    assert queue_pipeline.closed == ["closed", "cancelled"]
    assert again.to_proto() == definition


def test_a_type_without_a_code_cannot_travel() -> None:
    """The error names it."""
    runner = QueueRunner(Queue(1, "q"), [read], queue_closed_exception_types=(OutOfRangeError, StopIteration))
    with pytest.raises(ValueError, match="StopIteration has no code"):
        runner.to_proto()


def test_a_named_definition_needs_no_resolver() -> None:
    """Queue and operations are imported; the definition of what it becomes is the same."""
    runner = QueueRunner.from_proto(SHIPPED)
    assert runner.queue is queue_pipeline.numbers
    assert [name_of(op) for op in runner.enqueue_ops] == SHIPPED.enqueue_op_name
    assert runner.queue_closed_exception_types == (OutOfRangeError,)
    assert runner.to_proto() == SHIPPED
    assert QueueRunner(queue_runner_def=SHIPPED).to_proto() == SHIPPED


def test_the_name_in_the_definition_is_kept() -> None:
    """Also when the queue that it leads to calls itself something else."""
    definition = QueueRunnerDef("queue_pipeline:plain", ["queue_pipeline:Reader.read"])
    runner = QueueRunner.from_proto(definition)
    assert runner.name == "plain"
    again = proto(runner)
    assert again.queue_name == "queue_pipeline:plain"
    assert again.close_op_name == "queue_pipeline:plain_Close"
    assert QueueRunner.from_proto(again).queue is queue_pipeline.plain


def test_it_runs_in_another_process() -> None:
    """Bytes go in, and the process that reads them fills the queue and empties it."""
    program = """
import sys
from enqueued import Coordinator, QueueRunner, QueueRunnerDef
from enqueued.errors import OutOfRangeError

runner = QueueRunner.from_proto(QueueRunnerDef.FromString(sys.stdin.buffer.read()))
coord = Coordinator()
runner.create_threads(coord=coord, start=True)
numbers = []
try:
    while True:
        numbers.append(runner.queue.dequeue())
except OutOfRangeError:
    print(sorted(numbers))
coord.join()
"""
    environ = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    runner = QueueRunner(queue_pipeline.numbers, ["queue_pipeline:Reader.read"] * 2)
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=proto(runner).SerializeToString(),
        capture_output=True,
        env=environ,
        timeout=40,
        check=False,
    )
    assert done.stdout.decode().strip() == str(list(range(10))), done.stderr.decode()


# Resolvers


@pytest.mark.parametrize("method", ["get", "__getitem__"])
def test_a_resolver_gives_the_objects(method: str) -> None:
    """None and LookupError both mean that it does not know a name; it need not know the usual closing operations."""
    objects = known("q", "read")
    definition = proto(QueueRunner(objects["q"], [read]))
    runner = QueueRunner.from_proto(definition, resolver=getattr(objects, method))
    assert runner.queue is objects["q"]
    assert runner.enqueue_ops == [read]
    assert runner.to_proto() == definition
    runner.close_op()
    assert objects["q"].closed


def test_a_resolver_goes_before_the_modules() -> None:
    """So that a receiver may keep to what it knows itself."""
    objects = known("queue_pipeline:numbers", "queue_pipeline:Reader.read")
    runner = QueueRunner.from_proto(SHIPPED, resolver=objects.get)
    assert runner.queue is objects["queue_pipeline:numbers"]
    assert runner.to_proto() == SHIPPED
    runner.cancel_op()
    assert runner.queue.closed
    assert not queue_pipeline.plain.closed


def test_names_that_nobody_knows_are_errors() -> None:
    """Queue, enqueue, close or cancel operation: the error says which, and what to do."""
    objects = known("q", "read")
    for definition, what in (
        (QueueRunnerDef("other", ["read"]), 'queue "other"'),
        (QueueRunnerDef("q", ["read", "write"]), 'enqueue operation "write"'),
        (QueueRunnerDef("q", ["read"], close_op_name="shut"), 'close operation "shut"'),
        (QueueRunnerDef("q", ["read"], cancel_op_name="q_Close"), 'cancel operation "q_Close"'),
    ):
        with pytest.raises(LoadError, match=f'Nobody knows the {what} .*resolver .*"module:attribute"'):
            QueueRunner.from_proto(definition, resolver=objects.get)
    with pytest.raises(LoadError, match="no_such_module"):
        QueueRunner.from_proto(QueueRunnerDef("no_such_module:q", ["read"]))


def test_what_a_name_leads_to_is_checked() -> None:
    """A queue that is none is found when the definition is read; an operation that is none, with its threads."""
    with pytest.raises(TypeError, match="queue must have a name and close"):
        QueueRunner.from_proto(QueueRunnerDef("queue_pipeline:not_callable", ["queue_pipeline:close"]))


# Scopes


@pytest.mark.parametrize("scope", ["train", "train/"])
def test_scopes_are_stripped_and_prepended(scope: str) -> None:
    """A definition that leaves its scope can enter another one."""
    runner = QueueRunner(Queue(1, "train/q"), [read, "queue_pipeline:Reader.read"])
    definition = proto(runner, scope)
    assert definition.queue_name == "q"
    assert (definition.close_op_name, definition.cancel_op_name) == ("q_Close", "q_Close_1")
    objects = known("eval/q", "eval/read")
    entered = QueueRunner.from_proto(definition, import_scope="eval", resolver=objects.get)
    assert entered.queue is objects["eval/q"]
    assert [name_of(op) for op in entered.enqueue_ops] == ["eval/read", "eval/queue_pipeline:Reader.read"]
    assert entered.close_op.name == "eval/q_Close"
    assert entered.to_proto("eval") == definition


def test_a_constructor_takes_the_scope_too() -> None:
    """As `from_proto` does."""
    entered = QueueRunner(queue_runner_def=SHIPPED, import_scope="eval")
    assert entered.queue is queue_pipeline.numbers
    assert proto(entered).queue_name == "eval/queue_pipeline:numbers"
    assert entered.to_proto("eval") == SHIPPED


@pytest.mark.parametrize("scope", ["eval", "tra", "train/q", "train/q/"])
def test_outside_of_its_scope_there_is_no_definition(scope: str) -> None:
    """A scope is a folder of names, not the beginning of one."""
    assert QueueRunner(Queue(1, "train/q"), [read]).to_proto(export_scope=scope) is None


def test_every_queue_is_in_no_scope() -> None:
    """None and an empty text are none."""
    runner = QueueRunner(Queue(1, "train/q"), [read])
    assert runner.to_proto() == runner.to_proto(None) == runner.to_proto("")


def test_the_closing_operations_of_tensorflow_are_known() -> None:
    """In its definitions they stand one scope deeper than the queue."""
    names = {"close_op_name": "input/names/names_Close", "cancel_op_name": "input/names/names_Close_1"}
    objects = known("input/names", "read")
    runner = QueueRunner.from_proto(QueueRunnerDef("input/names", ["read"], **names), resolver=objects.get)  # type: ignore[arg-type] # mypy mixes the fields
    runner.close_op()
    assert objects["input/names"].closed


# Definitions


def test_a_definition_excludes_everything_else() -> None:
    """A queue and a definition of one contradict each other."""
    for parts in ({"queue": Queue(1, "q")}, {"enqueue_ops": [read]}, {"queue": Queue(1, "q"), "enqueue_ops": [read]}):
        with pytest.raises(ValueError, match=r"^queue_runner_def and queue are mutually exclusive\.$"):
            QueueRunner(queue_runner_def=SHIPPED, **parts)
    for part in ({"close_op": read}, {"cancel_op": read}, {"queue_closed_exception_types": (CancelledError,)}):
        with pytest.raises(ValueError, match="mutually exclusive"):
            QueueRunner(queue_runner_def=SHIPPED, **part)


def test_no_codes_mean_the_end_of_the_queue() -> None:
    """As in definitions from before there was that field."""
    definition = QueueRunnerDef("queue_pipeline:plain", ["queue_pipeline:Reader.read"])
    assert QueueRunner.from_proto(definition).queue_closed_exception_types == (OutOfRangeError,)
    definition.queue_closed_exception_types = [CANCELLED, OUT_OF_RANGE]
    assert QueueRunner.from_proto(definition).queue_closed_exception_types == (CancelledError, OutOfRangeError)


@pytest.mark.parametrize("code", [0, 17, -1])
def test_an_unknown_code_is_an_error(code: int) -> None:
    """It may come from a later version, or from nowhere."""
    definition = QueueRunnerDef("queue_pipeline:plain", ["queue_pipeline:close"], queue_closed_exception_types=[code])
    with pytest.raises(ProtocolError, match=f"The code {code} .* stands for no error"):
        QueueRunner.from_proto(definition)


def test_a_definition_without_operations_is_an_error() -> None:
    """There would be nothing to run."""
    with pytest.raises(ValueError, match="Must provide queue and enqueue_ops"):
        QueueRunner.from_proto(QueueRunnerDef("queue_pipeline:plain"))


class Foreign:
    """A message of TensorFlow's own class."""

    def SerializeToString(self) -> bytes:
        return SHIPPED.SerializeToString()


def test_the_message_of_tensorflow_is_taken() -> None:
    """By its bytes; other things are not."""
    assert QueueRunner.from_proto(Foreign()).to_proto() == SHIPPED  # type: ignore[arg-type] # what programs do
    with pytest.raises(TypeError, match=r"must be a QueueRunnerDef, .*FromString"):
        QueueRunner.from_proto(SHIPPED.SerializeToString())  # type: ignore[arg-type] # the point
