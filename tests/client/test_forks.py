"""A trainer that forks: the child leaves the session alone and keeps its arrays."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enqueued import Client
from enqueued.errors import ForkedClient
from gate import Gate
from serving import SUPPORT, Serving
from waiting import until

LARGE = ("--sequence", "sources.sized:Large", "--workers", "2", "--max-queue-size", "4", "--arg", "length=100")


def check(child: Callable[[], object]) -> None:
    """Run something in a forked child, which must not raise."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_forked_child_cannot_use_the_client() -> None:
    """It is told so, whatever it tries; the parent goes on."""
    with Serving(*LARGE) as daemon, daemon.client() as client:
        taken = client.batches()
        first = next(taken)

        def child() -> None:
            for use in (lambda: next(taken), lambda: iter(client), client.stats, lambda: client.spec):
                with pytest.raises(ForkedClient):
                    use()
            first.done()
            assert repr(client) == "<Client, closed>"
            client.close()

        check(child)
        assert [int(next(taken).data[1]) for _ in range(5)] == [1, 2, 3, 4, 5]
        assert daemon.stats()["clients"] == 1


def test_a_forked_child_can_make_a_client_of_its_own() -> None:
    """In the place of the one that it cannot use."""
    with Serving(*LARGE) as daemon, daemon.client() as client:
        next(iter(client))

        def child() -> None:
            with daemon.client() as own:
                assert [int(number) for _, number in own.steps(3)] == [0, 1, 2]

        check(child)
        assert int(next(client.steps(1))[1]) == 1


def test_a_forked_child_keeps_the_arrays_that_it_inherited() -> None:
    """Also after the parent has given them back and the daemon has written other batches there."""
    with Serving(*LARGE) as daemon, daemon.client(prefetch=4) as client:
        kept = list(client.steps(4))
        told, asked = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.read(asked[0], 1)
            good = all((data == int(number)).all() for data, number in kept)
            os._exit(0 if good else 1)
        kept.clear()
        assert all((data == int(number)).all() for data, number in client.steps(60))
        os.write(asked[1], b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        for end in (*told, *asked):
            os.close(end)


def test_children_that_end_leave_the_session_alone() -> None:
    """By os._exit, by the interpreter's end, or as a pool of processes."""
    with Serving(*LARGE) as daemon:
        script = textwrap.dedent(
            f"""
            import multiprocessing, os, sys
            from enqueued import Client

            def work(number):
                return number * 2

            client = Client({daemon.endpoint!r}, prefetch=3)
            taken = client.steps(50)
            kept = [next(taken) for _ in range(3)]
            for leave in (os._exit, sys.exit):
                pid = os.fork()
                if pid == 0:
                    if leave is sys.exit:
                        del kept, taken, client
                    leave(0)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            with multiprocessing.get_context("fork").Pool(2) as pool:
                assert pool.map(work, range(10)) == list(range(0, 20, 2))
            process = multiprocessing.get_context("fork").Process(target=work, args=(1,))
            process.start()
            process.join()
            assert process.exitcode == 0
            kept += list(taken)
            assert [int(number) for _, number in kept] == list(range(50))
            assert all((data == int(number)).all() for data, number in kept)
            """
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=40, check=False,
            env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        until(lambda: daemon.stats()["clients"] == 0, 3)


def _read(queue: Any, data: Any) -> None:
    queue.put(int(data.sum()))


def test_arrays_can_be_given_to_a_forked_process() -> None:
    """As multiprocessing does it."""
    context = multiprocessing.get_context("fork")
    with Serving(*LARGE) as daemon, daemon.client() as client:
        for data, number in client.steps(5):
            queue = context.SimpleQueue()
            process = context.Process(target=_read, args=(queue, data))
            process.start()
            assert queue.get() == int(number) * data.size
            process.join(10)
            queue.close()


def ending(body: str, endpoint: str, within: float = 10.0) -> subprocess.CompletedProcess[str]:
    """A script with a client that takes batches, to its end."""
    script = f"from enqueued import Client\nclient = Client({endpoint!r})\n" + textwrap.dedent(body)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=within, check=False)


@pytest.mark.parametrize(
    "body",
    [
        "first = next(iter(client))",
        "kept = list(client.steps(3)); taken = client.batches(); batch = next(taken)",
        "with client: next(iter(client))",
        "def train():\n    for batch in client: return batch\nkept = train()",
        "import threading; threading.Thread(target=lambda: next(iter(client))).start()",
    ],
)
def test_the_interpreter_ends_at_once(body: str) -> None:
    """Also when the user forgot close(), or holds arrays."""
    with Serving(*LARGE) as daemon:
        daemon.ready()
        done = ending(body, daemon.endpoint)
        assert (done.returncode, done.stderr) == (0, "")
        until(lambda: daemon.stats()["clients"] == 0, 3)


def test_control_c_ends_a_waiting_trainer(tmp_path: Path) -> None:
    """SIGINT while next() waits for a batch that does not come."""
    body = """
    import os, signal, threading
    taken = iter(client)
    next(taken)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        next(taken)
    except KeyboardInterrupt:
        print("interrupted")
    """
    source = ("--sequence", "sources.sized:Gated", "--arg", f"gate={tmp_path}/gate", "--arg", "free=1")
    with Gate(tmp_path / "gate"), Serving(*source, "--graceful-timeout", "0.1", expect=None) as daemon:
        daemon.ready()
        done = ending(body, daemon.endpoint)
        assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
        until(lambda: daemon.stats()["clients"] == 0, 3)


def test_a_client_that_is_dropped_ends_its_session() -> None:
    """Without close(), when nothing refers to it any more."""
    with Serving(*LARGE) as daemon:
        client: Client | None = daemon.client()
        assert client is not None
        next(iter(client))
        assert daemon.stats()["clients"] == 1
        client = None
        until(lambda: daemon.stats()["clients"] == 0, 3)


def test_a_client_that_is_dropped_in_a_loop_ends_its_session() -> None:
    """What a loop over epochs, a state, or a daemon that was lost leaves behind does not keep it."""
    with Serving(*LARGE) as daemon:

        def train() -> None:
            client = daemon.client()
            for epoch in client.epochs(2):
                next(epoch)
                client.load_state_dict(client.state_dict())
                break
            for epoch in client.epochs(2):
                next(epoch)
                break
            daemon.kill()
            daemon.start()
            assert len(list(client.steps(20))) == 20
            assert daemon.stats()["clients"] == 1

        gc.disable()
        try:
            train()
            until(lambda: daemon.stats()["clients"] == 0, 3)
        finally:
            gc.enable()
