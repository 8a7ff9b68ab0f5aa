"""The client's side: private, writable views, and the one release of each."""

from __future__ import annotations

import fcntl
import gc
import os
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from enqueued.arena.segment import PAGE, SEALS, SMALL, create_segment
from enqueued.arena.views import Views
from enqueued.errors import ProtocolError

Array = np.ndarray[Any, Any]
NBYTES = 32 * PAGE
SIZE = 2 * NBYTES


class Anchor:
    """Stands for the hand-off connection."""


class Shared:
    """One segment with its writer's mapping, and clients of it."""

    def __init__(self) -> None:
        self.fd, self.memory = create_segment("test", SIZE)
        self.clients: list[Views] = []

    def client(self) -> Views:
        views = Views()
        views.add(1, os.dup(self.fd), SIZE)
        self.clients.append(views)
        return views

    def write(self, value: int, offset: int = 0) -> None:
        self.memory[offset : offset + NBYTES] = bytes([value]) * NBYTES


@pytest.fixture
def shared() -> Iterator[Shared]:
    """A segment of two cells."""
    found = Shared()
    yield found
    for views in found.clients:
        views.close()
    os.close(found.fd)
    found.memory.close()


@pytest.fixture(params=["pagemap", "no counter", "no pagemap"])
def client(request: pytest.FixtureRequest, shared: Shared) -> Views:
    """A client that looks at its pagemap after a fault, one that looks each time, and one that cannot."""
    views = shared.client()
    assert views._counted
    views._counted = request.param == "pagemap"
    if request.param == "no pagemap":
        assert views._pagemap is not None
        os.close(views._pagemap)
        views._pagemap = None
    return views


def test_a_view_is_writable_and_nobody_else_sees_what_is_written(shared: Shared, client: Views) -> None:
    """Neither another client, nor the daemon, nor the worker."""
    other = shared.client()
    shared.write(1)
    mine, theirs = client.view("a", 1, 0, NBYTES), other.view("a", 1, 0, NBYTES)
    assert mine.flags.writeable
    mine[:] = 9
    assert (mine == 9).all()
    assert (theirs == 1).all()
    assert shared.memory[0] == 1


@pytest.mark.parametrize(
    "written", [[], [0], [NBYTES - 1], [5 * PAGE, 6 * PAGE, 20 * PAGE + 7], range(0, NBYTES, PAGE)]
)
def test_the_next_batch_in_a_cell_is_seen_whole(shared: Shared, client: Views, written: list[int]) -> None:
    """Also where pages of the last one were written, some or all of them."""
    for value in (1, 2, 3):
        shared.write(value)
        root = client.view(value, 1, 0, NBYTES)
        assert (root == value).all()
        for place in written:
            root[place] = 99
        del root
        assert client.collect() == [value]


def test_the_cell_beside_is_not_touched_by_a_release(shared: Shared, client: Views) -> None:
    """What the trainer has written there stays."""
    first, second = client.view("a", 1, 0, NBYTES), client.view("b", 1, NBYTES, NBYTES)
    first[:] = 7
    second[:] = 8
    del first
    assert client.collect() == ["a"]
    assert (second == 8).all()
    shared.write(5)
    assert (client.view("c", 1, 0, NBYTES) == 5).all()
    assert (second == 8).all()


def test_a_fork_in_between_leaves_nothing_behind(shared: Shared, client: Views) -> None:
    """After a fork written pages are shared between parent and child, and are dropped all the same."""
    shared.write(1)
    root = client.view("a", 1, 0, NBYTES)
    root[: 3 * PAGE] = 50
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        os._exit(0 if (root[: 3 * PAGE] == 50).all() else 1)
    os.read(ready[0], 1)
    root[4 * PAGE] = 51
    del root
    assert client.collect() == ["a"]
    shared.write(2)
    assert (client.view("b", 1, 0, NBYTES) == 2).all()
    os.write(done[1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for end in (*ready, *done):
        os.close(end)


def test_pages_that_were_only_read_are_kept_mapped(shared: Shared) -> None:
    """Dropping them would cost the next batch its page faults: a file's pages do not count as written."""
    client = shared.client()
    shared.write(1)
    root = client.view("a", 1, 0, NBYTES)
    assert (root == 1).all()
    root[2 * PAGE] = 3
    del root
    client.collect()
    address = client._mapped[1].address
    with open("/proc/self/pagemap", "rb") as pagemap:
        pagemap.seek(address // PAGE * 8)
        entries = np.frombuffer(pagemap.read(NBYTES // PAGE * 8), np.uint64)
    present = (entries >> np.uint64(63)).astype(bool)
    assert not present[2]
    assert present.sum() == NBYTES // PAGE - 1


def test_where_no_page_was_touched_for_the_first_time_nobody_looks_for_written_ones(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look costs 10 us for each mebibyte; a page fault of the process, as Python has some too, brings it back."""
    client = shared.client()
    looks: list[int] = []
    look = os.pread

    def pread(fd: int, size: int, place: int) -> bytes:
        looks.append(place)
        return look(fd, size, place)

    monkeypatch.setattr(os, "pread", pread)
    for tag in range(50):
        root = client.view(tag, 1, 0, NBYTES)
        assert root.sum() == 0
        del root
        client.collect()
    assert len(looks) < 50
    looks.clear()
    root = client.view("written", 1, 0, NBYTES)
    root[0] = 1
    del root
    client.collect()
    assert len(looks) == 1


def test_a_write_by_the_kernel_counts_as_one(shared: Shared, client: Views) -> None:
    """A file may be read straight into a batch's memory, and that is a page fault as well."""
    shared.write(1)
    root = client.view("a", 1, 0, NBYTES)
    with open("/dev/zero", "rb", buffering=0) as zeros:
        assert zeros.readinto(root[PAGE : 2 * PAGE].data) == PAGE
    assert root[0] == 1
    assert root[PAGE] == 0
    del root
    assert client.collect() == ["a"]
    shared.write(2)
    assert (client.view("b", 1, 0, NBYTES) == 2).all()


def test_what_was_kept_for_a_fork_does_not_change_any_more(shared: Shared, client: Views) -> None:
    """The child has the arrays, and the daemon knows nothing of it."""
    shared.write(1)
    root = client.view("a", 1, 0, NBYTES)
    client.keep()
    shared.write(2)
    assert (root == 1).all()
    del root
    client.collect()
    assert (client.view("b", 1, 0, NBYTES) == 2).all()


def test_an_older_kernel_keeps_pages_by_writing_them(
    shared: Shared, client: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without MADV_POPULATE_WRITE."""
    monkeypatch.setattr("enqueued.arena.views._MADV_POPULATE_WRITE", 9999)
    shared.write(1)
    root = client.view("a", 1, 0, NBYTES)
    client.keep()
    shared.write(2)
    assert (root == 1).all()


def _slice(root: Array) -> object:
    return np.ndarray((4, 8), np.float32, root, 64)[1:, ::2]


def _reshaped(root: Array) -> object:
    return np.ndarray((4, 8), np.float32, root, 64).reshape(2, 16).T


def _memoryview(root: Array) -> object:
    return np.ndarray((4, 8), np.float32, root, 64).data[1:]


def _buffer_of_a_buffer(root: Array) -> object:
    return np.asarray(np.asarray(np.ndarray((4, 8), np.float32, root, 64)).data)


def _capsule(root: Array) -> object:
    return np.from_dlpack(np.ndarray((4, 8), np.float32, root, 64))


def _read_only(root: Array) -> object:
    array = np.ndarray((4, 8), np.float32, root, 64)
    array.flags.writeable = False
    return array.view(np.int32)


@pytest.mark.parametrize("derive", [_slice, _reshaped, _memoryview, _buffer_of_a_buffer, _capsule, _read_only])
def test_a_view_lives_as_long_as_anything_over_it(client: Views, derive: Callable[[Array], object]) -> None:
    """Slices, reshaped arrays and foreign buffers keep the slot; it is released once, when the last is gone."""
    held: list[object] = [derive(client.view("a", 1, 0, NBYTES))]
    held.append(np.asarray(held[0])[:1])
    gc.collect()
    assert client.collect() == []
    held.pop(0)
    gc.collect()
    assert client.collect() == []
    held.clear()
    gc.collect()
    assert client.collect() == ["a"]
    assert client.collect() == []
    assert client.alive == 0


def test_a_copy_is_independent_of_the_segment(shared: Shared, client: Views) -> None:
    """Small or large, aligned, writable."""
    shared.write(1)
    for nbytes in (1, SMALL - 1, SMALL, NBYTES):
        copy = client.copy(1, 64, nbytes - 64 if nbytes > 64 else nbytes)
        assert copy.flags.writeable
        assert copy.ctypes.data % 16 == 0
        shared.write(2)
        assert (copy == 1).all()
        shared.write(1)
    assert client.alive == 0


@pytest.mark.parametrize(
    ("offset", "nbytes"),
    [(-1, 10), (-PAGE, PAGE), (0, 0), (0, -1), (0, SIZE + 1), (SIZE, 1), (SIZE - 1, 2), (1 << 62, 1 << 62), (64, SIZE)],
)
def test_a_ticket_that_points_outside_is_refused(client: Views, offset: int, nbytes: int) -> None:
    """Before anything is read."""
    with pytest.raises(ProtocolError, match="ticket"):
        client.view("a", 1, offset, nbytes)
    with pytest.raises(ProtocolError, match="ticket"):
        client.copy(1, offset, nbytes)
    assert client.alive == 0


def test_a_lease_that_is_alive_already_is_refused(client: Views) -> None:
    """Its release would be told for the wrong view."""
    root = client.view("a", 1, 0, NBYTES)
    with pytest.raises(ProtocolError, match="alive"):
        client.view("a", 1, NBYTES, NBYTES)
    del root
    assert client.collect() == ["a"]


def _unsealed() -> tuple[int, int]:
    fd = os.memfd_create("bare", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, SIZE)
    return fd, SIZE


def _halfway() -> tuple[int, int]:
    fd, size = _unsealed()
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS & ~fcntl.F_SEAL_SHRINK)
    return fd, size


def _file() -> tuple[int, int]:
    fd = os.open("/proc/self/exe", os.O_RDONLY)
    return fd, os.fstat(fd).st_size


def _pipe() -> tuple[int, int]:
    ours, theirs = os.pipe()
    os.close(theirs)
    return ours, SIZE


def _smaller() -> tuple[int, int]:
    fd, memory = create_segment("test", SIZE)
    memory.close()
    return fd, SIZE + PAGE


def _larger() -> tuple[int, int]:
    return _smaller()[0], PAGE


def _empty() -> tuple[int, int]:
    fd = os.memfd_create("empty", os.MFD_ALLOW_SEALING)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd, 0


def _huge() -> tuple[int, int]:
    fd = os.memfd_create("huge", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 1 << 60)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd, 1 << 60


@pytest.mark.parametrize("make", [_unsealed, _halfway, _file, _pipe, _smaller, _larger, _empty, _huge])
def test_what_is_no_sealed_segment_is_not_mapped(make: Callable[[], tuple[int, int]]) -> None:
    """A file that could shrink would be a SIGBUS; the descriptor is closed all the same."""
    views = Views()
    fd, size = make()
    with pytest.raises(ProtocolError, match="segment 5"):
        views.add(5, fd, size)
    assert 5 not in views
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    views.close()


def test_a_forgotten_segment_is_unmapped_after_its_last_view(shared: Shared, client: Views) -> None:
    """And at once where there is none."""
    root = client.view("a", 1, 0, NBYTES)
    client.forget(1)
    client.forget(2)
    assert 1 in client
    root[:] = 4
    del root
    assert client.collect() == ["a"]
    assert 1 not in client


def test_arrays_outlive_the_client_that_gave_them(shared: Shared) -> None:
    """Closing forgets the segments; the memory stays until the arrays are gone, and so does the anchor."""

    views = Views()
    views.anchor = anchor = Anchor()
    anchored = weakref.ref(anchor)
    del anchor
    views.add(1, os.dup(shared.fd), SIZE)
    shared.write(1)
    root = views.view("a", 1, 0, NBYTES)[5:]
    views.close()
    views.close()
    assert (root == 1).all()
    root[:] = 2
    assert anchored() is not None
    del root
    gc.collect()
    assert anchored() is None
    assert not views.freed
