"""Arguments, their order and their defaults, as programs have them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import enqueued
from enqueued import GeneratorEnqueuer, OrderedEnqueuer, SequenceEnqueuer, errors

START = [("workers", 1), ("max_queue_size", 10)]
CLOSED = "queue_closed_exception_types"
COLLECTION = ("collection", "queue_runners")
LOOP = ["coord", "timer_interval_secs", ("target", None), ("args", None), ("kwargs", None)]

ENQUEUERS: list[tuple[Callable[..., Any], list[Any]]] = [
    (SequenceEnqueuer, ["sequence", ("use_multiprocessing", False)]),
    (OrderedEnqueuer, ["sequence", ("use_multiprocessing", False), ("shuffle", False)]),
    *((one.start, ["self", *START]) for one in (SequenceEnqueuer, OrderedEnqueuer, GeneratorEnqueuer)),
    (SequenceEnqueuer.stop, ["self", ("timeout", None)]),
    (SequenceEnqueuer.close, ["self", ("timeout", None)]),
    (SequenceEnqueuer.is_running, ["self"]),
    (SequenceEnqueuer.get, ["self"]),
    (SequenceEnqueuer.join_end_of_epoch, ["self", ("timeout", 30)]),
]
OPS = [(name, None) for name in ("queue", "enqueue_ops", "close_op", "cancel_op", CLOSED)]
THREADS: list[tuple[Callable[..., Any], list[Any]]] = [
    (enqueued.QueueRunner, [*OPS, ("queue_runner_def", None), ("import_scope", None)]),
    (
        enqueued.QueueRunner.create_threads,
        ["self", ("sess", None), ("coord", None), ("daemon", False), ("start", False)],
    ),
    (enqueued.QueueRunner.to_proto, ["self", ("export_scope", None)]),
    (enqueued.QueueRunner.from_proto, ["queue_runner_def", ("import_scope", None), ("resolver", None)]),
    (enqueued.add_queue_runner, ["qr", COLLECTION]),
    (
        enqueued.start_queue_runners,
        [("sess", None), ("coord", None), ("daemon", True), ("start", True), COLLECTION],
    ),
    (enqueued.Queue, ["maxsize", "name"]),
    (enqueued.Queue.close, ["self", ("cancel_pending_enqueues", False)]),
    (enqueued.Coordinator, [("clean_stop_exception_types", None)]),
    (enqueued.Coordinator.request_stop, ["self", ("ex", None)]),
    (enqueued.Coordinator.wait_for_stop, ["self", ("timeout", None)]),
    (enqueued.Coordinator.register_thread, ["self", "thread"]),
    (
        enqueued.Coordinator.join,
        ["self", ("threads", None), ("stop_grace_period_secs", 120), ("ignore_live_threads", False)],
    ),
    (enqueued.LooperThread, LOOP),
    (enqueued.LooperThread.loop, LOOP),
]


@pytest.mark.parametrize(
    ("called", "expected"), [*ENQUEUERS, *THREADS], ids=lambda one: getattr(one, "__qualname__", "")
)
def test_arguments_have_their_names_order_and_defaults(called: Callable[..., Any], expected: list[Any]) -> None:
    """A call that was written for the other class means the same here."""
    found = inspect.signature(called).parameters.values()
    assert all(one.kind is one.POSITIONAL_OR_KEYWORD for one in found)
    assert [one.name if one.default is one.empty else (one.name, one.default) for one in found] == expected


def test_a_generator_enqueuer_has_its_first_argument_by_two_names() -> None:
    """The others stand where they stood."""
    arguments = inspect.signature(GeneratorEnqueuer).parameters
    assert list(arguments) == ["sequence", "use_multiprocessing", "wait_time", "random_seed", "generator"]
    assert GeneratorEnqueuer(iter([1]), True, None, 7).random_seed == 7


def test_errors_of_operations_take_names() -> None:
    """`OpError` has a code as its fourth argument; its subclasses know theirs."""
    error = errors.OpError(node_def="node", op="op", message="text", error_code=5)
    assert (error.node_def, error.op, error.message, error.error_code) == ("node", "op", "text", 5)
    end = errors.OutOfRangeError(node_def=None, op=None, message="end")
    assert (end.message, end.error_code) == ("end", 11)
