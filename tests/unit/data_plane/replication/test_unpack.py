"""From frames to chunks that are proven: nothing wrong gets through, and nothing right is asked for twice."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import zstandard

from replicator.data_plane.replication import unpack
from replicator.data_plane.replication.encode import compress_chunk, encode_delta
from replicator.data_plane.replication.ports import Delivery, Piece, Received
from replicator.data_plane.replication.unpack import Unpacked, Unpacker
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, Corrupt
from replicator.kernel.manifest import ChunkRef
from replicator.testing.clock import FrozenClock
from replicator.testing.lies import bomb
from replicator.testing.memory_store import MemoryStore
from replicator.wire.frames import Codec, FrameStatus

MEBIBYTE = 1024 * 1024
OLD = [random.Random(number).randbytes(60_000) for number in range(4)]
NEW = [OLD[1][:30_000] + b"inserted" + OLD[1][30_000:], OLD[2][:50_000]]
DELTA = encode_delta(NEW, b"".join(OLD))


def ref(chunk: bytes) -> ChunkRef:
    return ChunkRef(Digest.of(chunk), len(chunk))


PIECE = Piece([ref(chunk) for chunk in NEW], [ref(chunk) for chunk in OLD])


def store_of(chunks: Sequence[bytes]) -> MemoryStore:
    store = MemoryStore(clock=FrozenClock())
    store.add([(Digest.of(chunk), chunk) for chunk in chunks])
    return store


def frame(payload: bytes, status: FrameStatus, codec: Codec, piece: Piece = PIECE) -> Delivery:
    count = len(piece.chunks) if status == FrameStatus.DELTA else 1
    return Delivery([Received(0, 0, count, status, codec, memoryview(payload))], len(payload))


def of_delta(payload: bytes, *, here: Sequence[bytes] = OLD) -> Unpacked:
    return Unpacker(store_of(here)).unpack([PIECE], frame(payload, FrameStatus.DELTA, Codec.ZSTD))


def of_chunk(payload: bytes, codec: Codec, chunk: bytes) -> Unpacked:
    piece = Piece([ref(chunk)])
    return Unpacker(store_of([])).unpack([piece], frame(payload, FrameStatus.CHUNK, codec, piece))


def against_old(raw: bytes, *, states_length: bool = True) -> bytes:
    older = zstandard.ZstdCompressionDict(b"".join(OLD), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(dict_data=older, write_content_size=states_length).compress(raw)


def test_a_delta_gives_every_chunk_of_its_run() -> None:
    assert DELTA is not None
    unpacked = of_delta(DELTA)
    assert [(digest, bytes(raw)) for digest, raw in unpacked.chunks] == [(Digest.of(new), new) for new in NEW]
    assert unpacked.saved_bytes == sum(map(len, NEW)) - len(DELTA)
    assert len(DELTA) < 1000
    assert not unpacked.resend


def test_a_delta_that_gains_nothing_is_not_made() -> None:
    assert encode_delta([random.Random("other").randbytes(MEBIBYTE)], b"".join(OLD)) is None


def test_a_delta_reaches_the_far_end_of_the_longest_references() -> None:
    references = random.Random("far").randbytes(8 * MEBIBYTE)
    delta = encode_delta([references[MEBIBYTE:], references[:MEBIBYTE]], references)
    assert delta is not None
    assert len(delta) < 100_000


WRONG_DELTAS = {
    "garbage": random.Random("garbage").randbytes(500),
    "nothing like zstd": b"x",
    "cut short": (DELTA or b"")[:-10],
    "bytes behind it": (DELTA or b"") + b"more",
    "two frames": (DELTA or b"") * 2,
    "too short a content": against_old(NEW[0]),
    "too long a content": against_old(NEW[0] + NEW[1] + b"x"),
    "a content of unknown length": against_old(NEW[0] + NEW[1], states_length=False),
    "a bomb": bomb(),
    "a bomb that does not say so": zstandard.ZstdCompressor(write_content_size=False).compress(
        bytes(1 << 30)
    ),
    "a skippable frame": b"\x50\x2a\x4d\x18" + (1000).to_bytes(4, "little") + bytes(1000),
}


@pytest.mark.parametrize("payload", WRONG_DELTAS.values(), ids=WRONG_DELTAS.keys())
def test_a_delta_that_does_not_decode_is_asked_for_plainly(payload: bytes) -> None:
    unpacked = of_delta(payload)
    assert not unpacked.chunks
    assert unpacked.resend == PIECE.chunks
    assert unpacked.saved_bytes == 0


def test_of_a_delta_that_decodes_to_other_bytes_only_what_is_right_is_kept() -> None:
    unpacked = of_delta(against_old(NEW[0][:-1] + b"!" + NEW[1]))
    assert [digest for digest, _ in unpacked.chunks] == [Digest.of(NEW[1])]
    assert unpacked.resend == [ref(NEW[0])]


def test_a_reference_that_is_gone_costs_a_resend() -> None:
    assert DELTA is not None
    assert of_delta(DELTA, here=OLD[:3]).resend == PIECE.chunks


def test_a_reference_that_is_damaged_costs_a_resend(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DELTA is not None
    store = store_of(OLD)

    def read(refs: Sequence[ChunkRef], **_: object) -> memoryview:
        raise Corrupt("a record fails its check", digest=str(refs[0].digest))

    monkeypatch.setattr(store, "read", read)
    delivery = frame(DELTA, FrameStatus.DELTA, Codec.ZSTD)
    assert Unpacker(store).unpack([PIECE], delivery).resend == PIECE.chunks


def test_a_reference_that_reads_as_other_bytes_costs_a_resend(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DELTA is not None
    store = store_of(OLD)
    monkeypatch.setattr(store, "read", lambda refs, **_: memoryview(bytes(240_000)))
    unpacked = Unpacker(store).unpack([PIECE], frame(DELTA, FrameStatus.DELTA, Codec.ZSTD))
    assert unpacked.resend == PIECE.chunks


def test_a_plain_chunk_is_not_copied() -> None:
    payload = NEW[0]
    ((_, raw),) = of_chunk(payload, Codec.PLAIN, payload).chunks
    assert isinstance(raw, memoryview)
    assert raw.obj is payload


def test_a_compressed_chunk_is_its_bytes_again() -> None:
    chunk = b"text that repeats " * 3000
    payload = compress_chunk(chunk)
    assert payload is not None
    unpacked = of_chunk(payload, Codec.ZSTD, chunk)
    assert unpacked.chunks == [(Digest.of(chunk), chunk)]
    assert unpacked.saved_bytes == len(chunk) - len(payload)


def test_what_does_not_shrink_is_not_compressed() -> None:
    assert compress_chunk(random.Random("raw").randbytes(65_536)) is None
    assert compress_chunk(b"") is None
    # It shrinks where the look falls, and not as a whole.
    assert compress_chunk(bytes(1024) + random.Random("raw").randbytes(200_000)) is None


CHUNK = b"abc" * 10_000
WRONG_CHUNKS = {
    "other bytes": (CHUNK[:-1] + b"x", Codec.PLAIN),
    "a longer content": (zstandard.compress(CHUNK + b"x"), Codec.ZSTD),
    "other content": (zstandard.compress(CHUNK[:-1] + b"x"), Codec.ZSTD),
    "garbage": (b"garbage", Codec.ZSTD),
    "bytes behind it": (zstandard.compress(CHUNK) + b"more", Codec.ZSTD),
    "a bomb": (WRONG_DELTAS["a bomb"], Codec.ZSTD),
    "a bomb that does not say so": (WRONG_DELTAS["a bomb that does not say so"], Codec.ZSTD),
}


@pytest.mark.parametrize(("payload", "codec"), WRONG_CHUNKS.values(), ids=WRONG_CHUNKS.keys())
def test_a_wrong_chunk_condemns_its_source(payload: bytes, codec: Codec) -> None:
    with pytest.raises(BrokenPeer, match=str(Digest.of(CHUNK))):
        of_chunk(payload, codec, CHUNK)


def test_a_window_larger_than_any_is_not_opened() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=27, write_content_size=True)
    wide = zstandard.ZstdCompressor(compression_params=parameters)
    chunk = bytes(unpack.WINDOW_BYTES_MAX + MEBIBYTE)
    with pytest.raises(BrokenPeer):
        of_chunk(wide.compress(chunk), Codec.ZSTD, chunk)


def test_what_the_source_lacks_or_has_damaged_is_named() -> None:
    unpacker = Unpacker(store_of([]))
    frames = [
        Received(0, 0, 1, FrameStatus.MISSING, Codec.PLAIN, memoryview(b"")),
        Received(0, 1, 1, FrameStatus.CORRUPT, Codec.PLAIN, memoryview(b"")),
    ]
    unpacked = unpacker.unpack([PIECE], Delivery(frames, 80))
    assert (unpacked.missing, unpacked.corrupt) == ([PIECE.chunks[0]], [PIECE.chunks[1]])
