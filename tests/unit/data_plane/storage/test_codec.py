"""What is stored for a chunk: smaller where that pays, the same bytes back, and nothing else decoded."""

from __future__ import annotations

import contextlib
import random
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from replicator.data_plane.storage.codec import WINDOW_BYTES_MAX, ChunkCompressor, Encoded, decode
from replicator.data_plane.storage.record import CODEC_NONE, CODEC_ZSTD
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt

KIB = 1024
DIGEST = Digest(bytes(range(32)))
TEXT = b"".join(b"line %d of a log that says much the same as the one before\n" % n for n in range(2000))
NOISE = random.Random(7).randbytes(1024 * KIB)


def decoded(encoded: Encoded, length: int) -> bytes:
    into = bytearray(length)
    decode(memoryview(encoded.stored), codec=encoded.codec, digest=DIGEST, into=memoryview(into))
    return bytes(into)


def stored_length(encoded: Encoded) -> int:
    return len(memoryview(encoded.stored))


def chunks_of(data: bytes, length: int = 64 * KIB) -> list[memoryview]:
    return [memoryview(data)[at : at + length] for at in range(0, len(data), length)]


def frame(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def unsized_frame(data: bytes) -> bytes:
    stream = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return stream.compress(data) + stream.flush()


def refused(stored: bytes, length: int, codec: int = CODEC_ZSTD) -> None:
    into = bytearray(b"?" * length)
    with pytest.raises(Corrupt) as caught:
        decode(memoryview(stored), codec=codec, digest=DIGEST, into=memoryview(into))
    assert caught.value.data["digest"] == str(DIGEST)
    assert bytes(into) == b"?" * length


pieces = st.builds(
    lambda seed, length, repeat: random.Random(seed).randbytes(length) * repeat,
    st.integers(0, 50),
    st.integers(1, 3000),
    st.integers(1, 40),
)


@given(st.binary(max_size=300) | pieces)
def test_every_chunk_comes_back_and_none_takes_more_room(payload: bytes) -> None:
    encoded = ChunkCompressor().encode(payload)
    assert decoded(encoded, len(payload)) == payload
    assert stored_length(encoded) <= len(payload)


@pytest.mark.parametrize("length", [500, 4 * KIB, 20 * KIB, 64 * KIB, len(TEXT)])
def test_text_is_compressed_whatever_its_size(length: int) -> None:
    chunks = chunks_of(TEXT[:length])
    compressor = ChunkCompressor()
    assert compressor.is_promising(chunks)
    for chunk in chunks:
        encoded = compressor.encode(chunk)
        assert encoded.codec == CODEC_ZSTD
        assert stored_length(encoded) < len(chunk) // 2


@pytest.mark.parametrize("length", [1, 100, 4 * KIB, 20 * KIB, 64 * KIB])
def test_noise_is_passed_on_as_it_is(length: int) -> None:
    chunk = memoryview(NOISE)[:length]
    encoded = ChunkCompressor().encode(chunk)
    assert encoded.codec == CODEC_NONE
    assert encoded.stored is chunk


@pytest.mark.parametrize("length", [20 * KIB, 64 * KIB, 200 * KIB, len(NOISE)])
def test_a_batch_of_noise_is_not_even_tried(length: int) -> None:
    assert not ChunkCompressor().is_promising(chunks_of(NOISE[:length]))


def test_a_batch_of_nothing_is_not_tried() -> None:
    assert not ChunkCompressor().is_promising([])


def test_text_between_noise_is_found() -> None:
    assert ChunkCompressor().is_promising([*chunks_of(NOISE), *chunks_of(TEXT * 4)])


def test_a_chunk_that_shrinks_by_less_than_an_eighth_stays_raw() -> None:
    assert ChunkCompressor().encode(NOISE[: 60 * KIB] + bytes(4 * KIB)).codec == CODEC_NONE
    assert ChunkCompressor().encode(NOISE[: 54 * KIB] + bytes(10 * KIB)).codec == CODEC_ZSTD


def test_a_batch_is_judged_by_itself_whatever_came_before() -> None:
    compressor = ChunkCompressor()
    for _ in range(20):
        assert not compressor.is_promising(chunks_of(NOISE))
    assert compressor.is_promising(chunks_of(TEXT))


def test_many_threads_share_a_compressor() -> None:
    compressor, start = ChunkCompressor(), threading.Barrier(4)

    def many(seed: int) -> None:
        start.wait(timeout=30)
        for number in range(20):
            data = (b"%d %d " % (seed, number)) * 5000
            encoded = compressor.encode(data)
            assert compressor.is_promising([data])
            assert encoded.codec == CODEC_ZSTD
            assert decoded(encoded, len(data)) == data

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(many, range(4)))


@pytest.mark.parametrize("length", [0, 1, len(TEXT) - 1, len(TEXT) + 1])
def test_another_length_is_refused(length: int) -> None:
    refused(frame(TEXT), length)
    refused(TEXT, length, codec=CODEC_NONE)


@pytest.mark.parametrize("codec", [2, 255])
def test_an_unknown_codec_is_refused(codec: int) -> None:
    refused(frame(TEXT), len(TEXT), codec)


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(frame(TEXT)[:4], id="the magic alone"),
        pytest.param(frame(TEXT)[:-1], id="cut short"),
        pytest.param(TEXT, id="not a frame"),
        pytest.param(frame(TEXT) + b"\0", id="a byte behind it"),
        pytest.param(frame(TEXT) + frame(b""), id="an empty frame behind it"),
        pytest.param(frame(TEXT[:100]) + frame(TEXT[100:]), id="two frames that make up the length"),
        pytest.param(unsized_frame(TEXT), id="a frame that does not say its length"),
        pytest.param(b"\x50\x2a\x4d\x18" + len(TEXT).to_bytes(4, "little") + TEXT, id="a skippable frame"),
    ],
)
def test_anything_but_one_whole_frame_is_refused(stored: bytes) -> None:
    refused(stored, len(TEXT))


def test_a_frame_that_needs_a_dictionary_is_refused() -> None:
    named = zstandard.train_dictionary(4 * KIB, [*TEXT.splitlines()])
    nameless = zstandard.ZstdCompressionDict(TEXT, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    assert named.dict_id()
    for dictionary in (named, nameless):
        refused(zstandard.ZstdCompressor(dict_data=dictionary).compress(TEXT), len(TEXT))


def test_a_bomb_makes_no_more_bytes_than_the_chunk_has() -> None:
    honest = frame(bytes(64 * KIB * KIB))
    said = (64 * KIB * KIB).to_bytes(4, "little")
    lying = honest.replace(said, len(TEXT).to_bytes(4, "little"), 1)
    assert len(lying) < 16 * KIB
    assert zstandard.get_frame_parameters(lying).content_size == len(TEXT)
    tracemalloc.start()
    try:
        refused(honest, len(TEXT))
        refused(lying, len(TEXT))
        assert tracemalloc.get_traced_memory()[1] < KIB * KIB
    finally:
        tracemalloc.stop()


def test_a_frame_with_a_vast_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    vast = stream.compress(TEXT) + stream.flush()
    assert zstandard.get_frame_parameters(vast).window_size > WINDOW_BYTES_MAX
    refused(vast, len(TEXT))


def test_the_longest_chunk_a_record_holds_comes_back() -> None:
    data = TEXT * (16 * KIB * KIB // len(TEXT))
    encoded = ChunkCompressor().encode(data)
    assert encoded.codec == CODEC_ZSTD
    assert decoded(encoded, len(data)) == data


@given(st.binary(max_size=400), st.integers(0, 2000))
def test_bytes_from_anywhere_fill_the_chunk_or_are_refused(stored: bytes, length: int) -> None:
    for each in (stored, zstandard.FRAME_HEADER + stored):
        with contextlib.suppress(Corrupt):
            decoded(Encoded(CODEC_ZSTD, each), length)


@given(st.integers(0, 8 * len(frame(TEXT)) - 1))
def test_a_flipped_bit_never_ends_but_in_a_refusal_or_a_chunk_of_that_length(bit: int) -> None:
    damaged = bytearray(frame(TEXT))
    damaged[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(Corrupt):
        assert len(decoded(Encoded(CODEC_ZSTD, bytes(damaged)), len(TEXT))) == len(TEXT)
