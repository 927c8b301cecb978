"""Chunking: what any upload may rely on, whatever its bytes and however they arrive."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator

import pyfastcdc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from replicator.kernel.chunker import Chunker, Chunking

CHUNKINGS = [
    Chunking(chunk_bytes_min=64, chunk_bytes_avg=256, chunk_bytes_max=1024),
    Chunking(chunk_bytes_min=64, chunk_bytes_avg=257, chunk_bytes_max=1025),
    Chunking(chunk_bytes_min=256, chunk_bytes_avg=256, chunk_bytes_max=1024),
    Chunking(chunk_bytes_min=300, chunk_bytes_avg=1000, chunk_bytes_max=3001),
    Chunking(chunk_bytes_min=512, chunk_bytes_avg=2048, chunk_bytes_max=2048),
]
DATA_BYTES_MAX = 12_000

# Gear hash masks of FastCDC 2020 by their number of one bits, as its authors published them.
MASKS = {
    7: 0x0000000018035100,
    9: 0x0000019000353000,
    10: 0x0000590003530000,
    11: 0x0000D90003530000,
    12: 0x0000D90103530000,
    15: 0x0000D90F03530000,
    17: 0x0000D90703537000,
}
GEAR = [int.from_bytes(hashlib.md5(bytes([value]) * 64).digest()[:8]) for value in range(256)]


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def repetitive(seed: int, length: int) -> bytes:
    """Runs and repeats, such as tables and sparse files have."""
    dice = random.Random(seed)
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < length:
        fresh = dice.choice([bytes(dice.randrange(1500)), dice.randbytes(dice.randrange(1, 300))])
        pieces.append(dice.choice([fresh, *pieces[-3:]]))
    return b"".join(pieces)[:length]


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    make = draw(st.sampled_from([noise, repetitive]))
    lengths = [st.integers(0, 1100), st.integers(DATA_BYTES_MAX - 2000, DATA_BYTES_MAX)]
    return make(draw(st.integers(0, 2**32)), draw(st.sampled_from(lengths).flatmap(lambda some: some)))


def split(data: bytes, seed: int, block_bytes_max: int) -> Iterator[list[bytes]]:
    """`data` in calls of a few blocks each, some of them empty."""
    dice = random.Random(seed)
    at = 0
    while at < len(data):
        call = []
        for _ in range(dice.randrange(1, 4)):
            length = dice.randrange(block_bytes_max + 1)
            call.append(data[at : at + length])
            at += length
        yield call


def cut(data: bytes, chunking: Chunking) -> list[bytes]:
    chunker = Chunker(chunking)
    return [bytes(piece) for piece in (*chunker.feed(data), *chunker.finish())]


def fastcdc_2020(data: bytes, chunking: Chunking) -> int:
    """Length of the first chunk of `data`, by the paper: Algorithm 1 with cut-point skipping, normalisation
    level 1, and the rolling of two bytes a step, in which an odd last byte is never judged."""
    if len(data) <= chunking.chunk_bytes_min:
        return len(data)
    end = min(len(data), chunking.chunk_bytes_max)
    normal = min(chunking.chunk_bytes_avg, end) // 2 * 2
    bits = round(math.log2(chunking.chunk_bytes_avg))
    fingerprint = 0
    for at in range(chunking.chunk_bytes_min, end // 2 * 2):
        fingerprint = ((fingerprint << 1) + GEAR[data[at]]) % 2**64
        if fingerprint & MASKS[bits + 1 if at < normal else bits - 1] == 0:
            return at
    return end


def reference_cut(data: bytes, chunking: Chunking) -> list[bytes]:
    pieces = []
    while data:
        length = fastcdc_2020(data, chunking)
        pieces.append(data[:length])
        data = data[length:]
    return pieces


@settings(deadline=None, max_examples=150)
@given(
    data=contents(),
    chunking=st.sampled_from(CHUNKINGS),
    seed=st.integers(0, 2**32),
    block_bytes_max=st.sampled_from([40, 300, 1024, 5000]),
)
@example(data=b"", chunking=CHUNKINGS[0], seed=0, block_bytes_max=40)
@example(data=bytes(1024), chunking=CHUNKINGS[0], seed=0, block_bytes_max=1024)
def test_pieces_do_not_depend_on_how_the_bytes_are_fed(
    data: bytes, chunking: Chunking, seed: int, block_bytes_max: int
) -> None:
    chunker = Chunker(chunking)
    fed = [bytes(piece) for call in split(data, seed, block_bytes_max) for piece in chunker.feed(*call)]
    fed += [bytes(piece) for piece in chunker.finish()]
    assert fed == cut(data, chunking)


@pytest.mark.parametrize("data", [noise(7, 6000), repetitive(7, 6000)], ids=["noise", "repetitive"])
def test_feeding_byte_by_byte_cuts_alike(data: bytes) -> None:
    chunking = CHUNKINGS[0]
    chunker = Chunker(chunking)
    fed = [bytes(piece) for at in range(len(data)) for piece in chunker.feed(data[at : at + 1])]
    assert [*fed, *map(bytes, chunker.finish())] == cut(data, chunking)


@settings(deadline=None, max_examples=150)
@given(data=contents(), chunking=st.sampled_from(CHUNKINGS))
def test_pieces_concatenate_back_and_keep_the_bounds(data: bytes, chunking: Chunking) -> None:
    pieces = cut(data, chunking)
    assert b"".join(pieces) == data
    assert all(chunking.chunk_bytes_min <= len(piece) for piece in pieces[:-1])
    assert all(0 < len(piece) <= chunking.chunk_bytes_max for piece in pieces)


@settings(deadline=None, max_examples=100)
@given(data=contents(), chunking=st.sampled_from(CHUNKINGS))
def test_pieces_are_those_of_the_published_algorithm(data: bytes, chunking: Chunking) -> None:
    assert cut(data, chunking) == reference_cut(data, chunking)


@pytest.mark.parametrize("length", [100_001, 300_000])
def test_default_sizes_follow_the_published_algorithm(length: int) -> None:
    chunking = Chunking()
    data = noise(length, length)
    pieces = cut(data, chunking)
    assert pieces == reference_cut(data, chunking)
    assert len(pieces) > 1


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32), at=st.integers(0, DATA_BYTES_MAX), inserted=st.binary(min_size=1, max_size=50)
)
def test_an_edit_leaves_most_chunks_as_they_were(seed: int, at: int, inserted: bytes) -> None:
    data = noise(seed, DATA_BYTES_MAX)
    before = cut(data, CHUNKINGS[0])
    after = cut(data[:at] + inserted + data[at:], CHUNKINGS[0])
    assert len(set(after) - set(before)) <= len(before) // 2


def test_the_library_uses_the_published_gear_table() -> None:
    """Entry by entry: the hash just after the skipped minimum is made of one or two entries."""
    cdc = pyfastcdc.FastCDC(256, min_size=64, max_size=1024)
    for value, entry in enumerate(GEAR):
        first = next(iter(cdc.cut_buf(bytes([value]) * 66)))
        factor = {64: 2, 65: 3, 66: 3}[first.length]
        assert first.gear_hash == entry * factor % 2**64
