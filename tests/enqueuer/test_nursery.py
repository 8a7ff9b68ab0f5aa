"""The nursery: what is imported once, what is forked, and what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import waiting
from enqueued.enqueuer import nursery
from runs import Run, nothing_left, take

__all__ = ["nothing_left"]

PROGRAM = """
import sys
sys.path.insert(0, {support!r})
from enqueued.enqueuer.ordered import OrderedEnqueuer
from enqueued.enqueuer import nursery
import threaded
import sequences

def main():
    for kind in (threaded.Threaded, sequences.Growing):
        enqueuer = OrderedEnqueuer(kind(), use_multiprocessing=True)
        enqueuer.start(2)
        batches = enqueuer.get()
        print([next(batches)[:2] for _ in range(5)])
        enqueuer.stop()

if __name__ == "__main__":
    main()
"""


def test_a_module_that_starts_threads_is_not_forked(tmp_path: Path) -> None:
    """Neither is the nursery that has imported it: pools and workers are spawned then, and epochs go on as ever."""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM.format(support=str(Path(__file__).parents[1] / "support")))
    found = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=55, check=False)
    assert found.stdout.splitlines() == ["[(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]"] * 2
    assert "workers are spawned, not forked: threads are running in it: import's own" in found.stderr


def test_modules_are_imported_once(tmp_path: Path) -> None:
    """By the nursery, before the first pool is forked from it."""
    (tmp_path / "counted.py").write_text(
        f"import os\nfrom sequences import Counting as Base\n"
        f"with open({str(tmp_path / 'imports')!r}, 'a') as file: print(os.getpid(), file=file)\n"
        "class Counted(Base): pass\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        import counted  # type: ignore[import-not-found] # it was written just now

        for _ in range(2):
            with Run(counted.Counted()) as runner:
                take(runner, 3)
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["counted"]
    assert len((tmp_path / "imports").read_text().split()) == 2  # here, and there


def test_the_nursery_ends_with_the_program(tmp_path: Path) -> None:
    """Also when that is killed, and so do its pools."""
    text = PROGRAM.replace("threaded.Threaded, sequences.Growing", "sequences.Growing,").replace(
        "enqueuer.stop()",
        "print(nursery.nursery().process.pid, *(one.pid for one in enqueuer._runner._engine.feed.pool.workers()))\n"
        "        sys.stdout.flush(); import os; os.kill(os.getpid(), 9)",
    )
    file = tmp_path / "program.py"
    file.write_text(text.format(support=str(Path(__file__).parents[1] / "support")).replace("import threaded\n", ""))
    found = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=50, check=False)
    pids = [int(pid) for pid in found.stdout.split("\n")[1].split()]
    assert len(pids) == 3
    waiting.until(lambda: not any(_lives(pid) for pid in pids))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_closing_the_nursery_is_harmless() -> None:
    """Also twice; a run begins another."""
    nursery.close()
    with Run([1, 2, 3]) as runner:
        assert take(runner, 4) == [1, 2, 3, 1]
        nursery.close()
        nursery.close()
        assert take(runner, 40)[-1] == 2
