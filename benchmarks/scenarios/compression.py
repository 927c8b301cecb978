"""What compression at rest costs an upload: the work of one thread, without a server around it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure
from benchmarks.options import MIB
from benchmarks.scenarios.bench import Bench
from replicator.data_plane.storage.codec import ChunkCompressor, Encoded, decode
from replicator.data_plane.storage.record import CODEC_NONE
from replicator.kernel.chunker import Chunker
from replicator.kernel.digest import Digest

_INCOMPRESSIBLE_GOAL = 0.95
_TEXT_BYTES = 64 * MIB
_WORDS = 4096
_DIGEST = Digest(bytes(32))


@dataclass(slots=True)
class _Way:
    """One way to take the blocks of a body, the processor seconds that it took, and the latest block."""

    compressor: ChunkCompressor | None
    chunker: Chunker
    seconds: float = 0.0
    pieces: Sequence[memoryview] = ()
    encoded: Sequence[Encoded] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    speed_share: float
    stored_share: float
    decoded_gb_per_second: float


def measure(bench: Bench) -> list[Figure]:
    """Ingest with compression as a share of ingest without, for random bytes and for text."""
    bench.payload.fill(seed=3)
    random_bytes = bench.payload.view[: bench.options.object_bytes // 2]
    text = _text(min(_TEXT_BYTES, bench.options.object_bytes // 2))
    path = bench.folder / "ingested"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        # A fresh page of a file may cost more than all that is measured here.
        os.pwrite(descriptor, bytes(2 * MIB), 0)
        random_rounds, text_rounds = [], []
        for number in range(1, bench.options.rounds + 1):
            bench.say(f"compression, round {number}")
            random_rounds.append(_measure_round(descriptor, random_bytes))
            text_rounds.append(_measure_round(descriptor, text))
    finally:
        os.close(descriptor)
        path.unlink()
    return _figures(random_rounds, text_rounds, goal=bench.options.goal(_INCOMPRESSIBLE_GOAL))


def _figures(random_rounds: Sequence[_Round], text: Sequence[_Round], *, goal: float | None) -> list[Figure]:
    note = "processor time of cut, SHA-256, write"
    return [
        Figure(
            name="ingest with zstd, incompressible",
            unit="of raw",
            better="higher",
            rounds=tuple(each.speed_share for each in random_rounds),
            goal=goal,
            note=note,
        ),
        Figure(
            name="ingest with zstd, text",
            unit="of raw",
            better="higher",
            rounds=tuple(each.speed_share for each in text),
            note=note,
        ),
        Figure(
            name="stored with zstd, text",
            unit="of raw",
            better="lower",
            rounds=tuple(each.stored_share for each in text),
        ),
        Figure(
            name="decoding, text",
            unit="GB/s",
            better="higher",
            rounds=tuple(each.decoded_gb_per_second for each in text),
        ),
    ]


def _text(size: int) -> memoryview:
    source = random.Random("compression")
    words = [source.randbytes(source.randint(1, 5)).hex().encode() for _ in range(_WORDS)]
    text = bytearray()
    while len(text) < size:
        # Some words are common and most are rare, as in anything that people or programs write.
        text += b" ".join(words[int(_WORDS ** source.random()) - 1] for _ in range(MIB // 16)) + b"\n"
    return memoryview(text)[:size]


def _measure_round(descriptor: int, data: memoryview) -> _Round:
    """Each block is taken both ways, one right after the other, so that both meet the same noise."""
    raw, compressed = _Way(None, Chunker()), _Way(ChunkCompressor(), Chunker())
    raw_bytes = stored_bytes = 0
    decoding = 0.0
    for number, start in enumerate(range(0, len(data), MIB)):
        block = data[start : start + MIB]
        for way in (raw, compressed) if number % 2 else (compressed, raw):
            _ingest(descriptor, block, way)
        raw_bytes += sum(map(len, compressed.pieces))
        stored_bytes += sum(len(memoryview(each.stored)) for each in compressed.encoded)
        decoding += _decode(compressed)
    return _Round(
        speed_share=raw.seconds / compressed.seconds,
        stored_share=stored_bytes / raw_bytes,
        decoded_gb_per_second=raw_bytes / 1e9 / decoding,
    )


def _ingest(descriptor: int, block: memoryview, way: _Way) -> None:
    started = time.thread_time()
    way.pieces = list(way.chunker.feed(block))
    for piece in way.pieces:
        Digest.of(piece)
    if way.compressor is not None and way.compressor.is_promising(way.pieces):
        way.encoded = [way.compressor.encode(piece) for piece in way.pieces]
    else:
        way.encoded = [Encoded(CODEC_NONE, piece) for piece in way.pieces]
    os.pwritev(descriptor, [each.stored for each in way.encoded], 0)
    way.seconds += time.thread_time() - started


def _decode(way: _Way) -> float:
    block = memoryview(bytearray(max(map(len, way.pieces))))
    started = time.thread_time()
    for piece, (codec, stored) in zip(way.pieces, way.encoded, strict=True):
        decode(memoryview(stored), codec=codec, digest=_DIGEST, into=block[: len(piece)])
    return time.thread_time() - started
