"""Segments: what their seals forbid, and the sizes of cells."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.arena.segment import (
    PAGE,
    SMALL,
    cell_size,
    cells_per_segment,
    create_segment,
    is_sealed,
    map_private,
    map_readonly,
    segment_size,
)

SIZE = 4 * PAGE


@pytest.fixture
def segment() -> Iterator[tuple[int, mmap.mmap]]:
    """A sealed segment of four pages."""
    fd, memory = create_segment("test", SIZE)
    yield fd, memory
    os.close(fd)
    memory.close()


def test_a_segment_cannot_be_mapped_writable_and_shared(segment: tuple[int, mmap.mmap]) -> None:
    """Its writer's mapping is the only one."""
    with pytest.raises(PermissionError):
        mmap.mmap(segment[0], SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


@pytest.mark.parametrize("size", [0, PAGE, SIZE - 1, SIZE + 1, 2 * SIZE])
def test_a_segment_cannot_be_resized(segment: tuple[int, mmap.mmap], size: int) -> None:
    """Neither truncated, which would be a SIGBUS for its readers, nor grown."""
    with pytest.raises(PermissionError):
        os.ftruncate(segment[0], size)


def test_a_segment_cannot_be_written_through_its_descriptor(segment: tuple[int, mmap.mmap]) -> None:
    """Not even at the end, and not by allocating."""
    with pytest.raises(PermissionError):
        os.pwrite(segment[0], b"x", 0)
    with pytest.raises(PermissionError):
        os.posix_fallocate(segment[0], 0, 2 * SIZE)


def test_a_segment_reopened_through_proc_cannot_be_written(segment: tuple[int, mmap.mmap]) -> None:
    """A descriptor opened anew is writable for its mode, but for the seal."""
    fd = os.open(f"/proc/self/fd/{segment[0]}", os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            os.write(fd, b"x")
        with pytest.raises(PermissionError):
            mmap.mmap(fd, SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)
    assert bytes(segment[1]) == bytes(SIZE)


def test_no_seal_can_be_added_or_taken_away(segment: tuple[int, mmap.mmap]) -> None:
    """Its writer could otherwise be sealed out."""
    with pytest.raises(PermissionError):
        fcntl.fcntl(segment[0], fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    assert is_sealed(segment[0])


def test_what_the_writer_writes_is_seen_and_a_private_change_is_not(segment: tuple[int, mmap.mmap]) -> None:
    """The writer's mapping stays writable; a private one is changed for its owner alone."""
    fd, memory = segment
    private, other, readonly = (
        map_private(fd, SIZE, mmap.mmap),
        map_private(fd, SIZE, mmap.mmap),
        map_readonly(fd, SIZE),
    )
    memory[0:1] = b"a"
    assert private[0:1] == other[0:1] == readonly[0:1] == b"a"
    private[0:1] = b"b"
    assert (memory[0:1], other[0:1], readonly[0:1]) == (b"a", b"a", b"a")
    with pytest.raises(TypeError):
        readonly[0:1] = b"c"


def test_only_a_sealed_memory_file_counts_as_a_segment(segment: tuple[int, mmap.mmap]) -> None:
    """A regular file has no seals, and an unsealed memfd too few."""
    with open("/proc/self/exe", "rb") as file:
        assert not is_sealed(file.fileno())
    fd = os.memfd_create("bare", os.MFD_ALLOW_SEALING)
    assert not is_sealed(fd)
    os.close(fd)
    assert not is_sealed(fd)
    assert is_sealed(segment[0])


@given(st.integers(1, 1 << 40))
def test_a_cell_holds_its_batch_and_wastes_little(nbytes: int) -> None:
    """At most an eighth, or a unit of alignment, and a batch of the cell's own size has the same cell."""
    size = cell_size(nbytes)
    unit = 64 if nbytes < SMALL else PAGE
    assert nbytes <= size < nbytes + max(unit, nbytes // 8 + 1)
    assert size % unit == 0
    assert cell_size(size) == size


@given(st.integers(SMALL, 1 << 34))
def test_cells_of_large_batches_begin_on_pages(nbytes: int) -> None:
    """A client drops written pages, and no other batch may lie in them."""
    assert cell_size(nbytes) % PAGE == 0


@given(st.integers(1, 1 << 34), st.integers(0, 1 << 20))
def test_larger_batches_have_no_smaller_cells(nbytes: int, more: int) -> None:
    """Size classes are ordered."""
    assert cell_size(nbytes) <= cell_size(nbytes + more)


@given(st.integers(1, 1 << 34))
def test_a_segment_has_room_for_its_cells(nbytes: int) -> None:
    """In whole pages, and small cells share one."""
    cell = cell_size(nbytes)
    assert segment_size(cell) >= cell * cells_per_segment(cell) >= cell
    assert segment_size(cell) % PAGE == 0
    assert segment_size(cell) - cell * cells_per_segment(cell) < PAGE
