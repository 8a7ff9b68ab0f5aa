"""Frames that are made smaller, and frames that claim to have been."""

from __future__ import annotations

import importlib
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enqueued.errors import ProtocolError
from enqueued.wire.compression import LEAST_BYTES, Compressed, codecs, compress

zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def unfold(frame: bytes, nbytes: int) -> bytes:
    """What a client makes of it."""
    return bytes(Compressed(memoryview(frame), "zstd", nbytes).buffer)


@given(st.binary(min_size=1, max_size=300), st.integers(LEAST_BYTES, 200_000))
def test_a_frame_comes_back_as_it_was(piece: bytes, nbytes: int) -> None:
    """To the byte."""
    frame = (piece * (nbytes // len(piece) + 1))[:nbytes]
    found = compress(memoryview(frame))
    assert found is not None
    assert len(found) < nbytes
    assert len(Compressed(memoryview(found), "zstd", nbytes)) == nbytes
    assert unfold(found, nbytes) == frame


def test_what_saves_too_little_stays_as_it_is() -> None:
    """Noise, and what is small anyway."""
    assert compress(memoryview(np.random.default_rng(0).bytes(100_000))) is None
    assert compress(memoryview(bytes(LEAST_BYTES - 1))) is None


def test_a_frame_that_would_grow_beyond_the_bound_is_not_made() -> None:
    """A client would refuse it."""
    assert compress(memoryview(bytes(65 << 20))) is None
    assert compress(memoryview(bytes(63 << 20))) is not None


@given(st.binary(max_size=200), st.integers(-1, 1 << 63))
def test_any_bytes_are_a_frame_or_a_protocol_error(frame: bytes, nbytes: int) -> None:
    """Never another error."""
    with pytest.raises(ProtocolError):
        unfold(frame, nbytes)


@pytest.mark.parametrize("nbytes", [0, 1, 9_999, 10_001, 64 << 20, 1 << 62, -5, None, "10000", 1e4, True])
def test_a_frame_of_another_size_is_a_protocol_error(nbytes: int) -> None:
    """Longer or shorter than it was announced."""
    with pytest.raises(ProtocolError):
        unfold(zstd.compress(bytes(10_000)), nbytes)


@pytest.mark.parametrize("codec", ["lz4", "", None, 7, [], {}])
def test_a_way_that_nobody_named_is_a_protocol_error(codec: object) -> None:
    """Also what is no name."""
    with pytest.raises(ProtocolError):
        Compressed(memoryview(zstd.compress(bytes(10_000))), codec, 10_000)


def test_a_damaged_frame_is_a_protocol_error() -> None:
    """Cut off, followed by something, or followed by another one."""
    frame = zstd.compress(np.arange(10_000).tobytes())
    for false in (frame[:-1], frame[:20], frame + b"\0", frame + frame, b"", b"\0" + frame):
        with pytest.raises(ProtocolError):
            unfold(false, 80_000)


def test_a_bomb_takes_no_memory() -> None:
    """A gigabyte in 33 KB: what was announced bounds what it becomes, and so does the window that it asks for."""
    bomb = zstd.compress(bytes(1 << 30))
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="cannot become"):
            unfold(bomb, 1 << 30)
        with pytest.raises(ProtocolError, match="announced"):
            unfold(bomb, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    wide = zstd.compress(
        np.random.default_rng(0).bytes(1 << 24) * 2, options={zstd.CompressionParameter.window_log: 25}
    )
    with pytest.raises(ProtocolError, match="decompressed"):
        unfold(wide, 1 << 25)


def test_the_library_is_there_for_the_tests() -> None:
    """Else those above would show nothing."""
    assert codecs() == ("zstd",)
