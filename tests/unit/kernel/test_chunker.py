from __future__ import annotations

import random

import pyfastcdc
import pytest
from pyfastcdc.py import FastCDC as PureFastCDC

from replicator.kernel.chunker import DEFAULT_CHUNKING, KIB, Chunker, Chunking, require_native_chunker
from replicator.kernel.errors import InvalidRequest, Unavailable

SMALL = Chunking(chunk_bytes_min=64, chunk_bytes_avg=256, chunk_bytes_max=1024)


def test_the_published_vector_of_zeros() -> None:
    """fastcdc-rs, v2020, `test_cut_all_zeros`: ten chunks of the largest size with one known hash."""
    cuts = list(pyfastcdc.FastCDC(256, min_size=64, max_size=1024).cut_buf(bytes(10_240)))
    assert [(cut.gear_hash, cut.length) for cut in cuts] == [(14_169_102_344_523_991_076, 1024)] * 10
    assert [len(piece) for piece in Chunker(SMALL).feed(bytes(10_240))] == [1024] * 10


def test_the_default_is_16_64_and_256_kib() -> None:
    assert Chunking(chunk_bytes_min=16 * KIB, chunk_bytes_avg=64 * KIB, chunk_bytes_max=256 * KIB) == (
        DEFAULT_CHUNKING
    )


def test_nothing_fed_makes_no_piece() -> None:
    chunker = Chunker()
    assert [*chunker.feed(), *chunker.feed(b""), *chunker.feed(b"", b""), *chunker.finish()] == []


def test_a_chunker_is_empty_again_after_finish() -> None:
    chunker = Chunker(SMALL)
    assert [bytes(piece) for piece in (*chunker.feed(b"one"), *chunker.finish())] == [b"one"]
    assert [bytes(piece) for piece in (*chunker.feed(b"two"), *chunker.finish())] == [b"two"]


def test_a_block_may_be_reused_once_its_pieces_are_done() -> None:
    """What is held back between two calls must not change with the buffer it came in."""
    data = random.Random(5).randbytes(8000)
    chunker = Chunker(SMALL)
    block = bytearray(1000)
    pieces = []
    for at in range(0, len(data), len(block)):
        block[:] = data[at : at + len(block)]
        pieces += [bytes(piece) for piece in chunker.feed(block)]
    pieces += [bytes(piece) for piece in chunker.finish()]
    assert b"".join(pieces) == data


@pytest.mark.parametrize(
    ("low", "average", "high"),
    [
        (62, 256, 1024),
        (65, 256, 1024),
        (64, 255, 1024),
        (64, 256, 1023),
        (512, 256, 1024),
        (64, 2048, 1024),
        (64, 256, 16 * KIB * KIB + 1),
        (64, 4 * KIB * KIB + 1, 16 * KIB * KIB),
        (KIB * KIB + 2, 2 * KIB * KIB, 16 * KIB * KIB),
        (0, 0, 0),
        (-64, 256, 1024),
    ],
)
def test_impossible_parameters_are_refused(low: int, average: int, high: int) -> None:
    with pytest.raises(InvalidRequest, match="chunking wants") as caught:
        Chunking(chunk_bytes_min=low, chunk_bytes_avg=average, chunk_bytes_max=high)
    assert caught.value.data == {"min": low, "avg": average, "max": high}


@pytest.mark.parametrize(
    "chunking",
    [SMALL, Chunking(chunk_bytes_min=KIB**2, chunk_bytes_avg=4 * KIB**2, chunk_bytes_max=16 * KIB**2)],
)
def test_every_accepted_chunking_can_cut(chunking: Chunking) -> None:
    (piece,) = Chunker(chunking).feed(bytes(chunking.chunk_bytes_max))
    assert len(piece) == chunking.chunk_bytes_max


def test_the_native_chunker_is_here() -> None:
    require_native_chunker()


def test_the_slow_pure_python_chunker_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyfastcdc, "FastCDC", PureFastCDC)
    with pytest.raises(Unavailable, match=r"pure-Python chunker; reinstall pyfastcdc"):
        require_native_chunker()
