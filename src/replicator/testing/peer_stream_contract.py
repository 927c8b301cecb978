"""What every peer promises about chunk streams. See `peer_contract`."""
# ruff: noqa: D102  (the names of the tests are the promises)

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import pytest

from replicator.data_plane.replication.ports import Delivery, Peer, Piece, Received
from replicator.data_plane.replication.unpack import Unpacked, Unpacker
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Cancelled
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_store import MemoryStore
from replicator.testing.objects import named, noise, ref_of
from replicator.testing.peer_source import SourceStore
from replicator.wire.frames import FETCH_CHUNKS_MAX, Codec, FrameStatus

CHUNK, MISSING = FrameStatus.CHUNK, FrameStatus.MISSING
MEBIBYTE = 1024 * 1024


def piece(*payloads: bytes, references: Sequence[bytes] = ()) -> Piece:
    """The chunks with these bytes, to be compressed against the others."""
    return Piece([ref_of(payload) for payload in payloads], [ref_of(payload) for payload in references])


def fetched(peer: Peer, *pieces: Piece, compress: bool = False) -> list[tuple[Received, bytes]]:
    """Every frame of a fetch, with its payload kept."""
    return [
        (frame, bytes(frame.payload))
        for delivery in peer.fetch(pieces, compress=compress)
        for frame in delivery.frames
    ]


def places(frames: Sequence[tuple[Received, bytes]]) -> list[tuple[int, int, int, FrameStatus]]:
    """What the frames are about, and their status."""
    return [(frame.piece, frame.first, frame.chunks, frame.status) for frame, _ in frames]


def unpacked(peer: Peer, here: MemoryStore, *pieces: Piece, compress: bool = False) -> Unpacked:
    """A fetch, unpacked with the references that `here` has."""
    unpacker = Unpacker(here)
    total = Unpacked()
    for delivery in peer.fetch(pieces, compress=compress):
        part = unpacker.unpack(pieces, delivery)
        total.chunks += [(digest, bytes(payload)) for digest, payload in part.chunks]
        total.saved_bytes += part.saved_bytes
        total.missing += part.missing
        total.resend += part.resend
    return total


class PeerStreamContract:
    """Chunks: in the order asked, of the form asked."""

    def test_chunks_come_in_the_order_asked_one_frame_each(self, store: SourceStore, peer: Peer) -> None:
        store.add(named(b"one", b"two", b"three"))
        frames = fetched(peer, piece(b"three", b"one"), piece(b"two"), piece(b"one"))
        assert places(frames) == [(0, 0, 1, CHUNK), (0, 1, 1, CHUNK), (1, 0, 1, CHUNK), (2, 0, 1, CHUNK)]
        assert [payload for _, payload in frames] == [b"three", b"one", b"two", b"one"]
        assert {frame.codec for frame, _ in frames} == {Codec.PLAIN}

    def test_chunks_that_the_source_lacks_are_said_to_be_missing(
        self, store: SourceStore, peer: Peer
    ) -> None:
        store.add(named(b"one", b"two"))
        frames = fetched(peer, piece(b"absent", b"one", b"gone"), piece(b"two", b"away"))
        assert places(frames) == [
            (0, 0, 1, MISSING),
            (0, 1, 1, CHUNK),
            (0, 2, 1, MISSING),
            (1, 0, 1, CHUNK),
            (1, 1, 1, MISSING),
        ]
        assert [payload for _, payload in frames] == [b"", b"one", b"", b"two", b""]

    def test_nothing_follows_a_chunk_that_is_damaged_at_the_source(
        self, store: SourceStore, peer: Peer
    ) -> None:
        store.add(named(b"one", b"two", b"three"))
        store.damaged.add(Digest.of(b"two"))
        frames = fetched(peer, piece(b"one", b"two", b"three"))
        assert frames[-1][0][:4] == (0, 1, 1, FrameStatus.CORRUPT)
        assert [payload for _, payload in frames[:-1]] in ([b"one"], [])
        assert fetched(peer, piece(b"three"))[0][1] == b"three"

    def test_many_bytes_come_in_several_deliveries(self, store: SourceStore, peer: Peer) -> None:
        payloads = [noise(seed, 1024) for seed in range(3000)]
        store.add(named(*payloads))
        deliveries: list[Delivery] = []
        received = b""
        for delivery in peer.fetch([piece(*payloads)], compress=False):
            received += b"".join(frame.payload for frame in delivery.frames)
            deliveries.append(
                delivery._replace(
                    frames=[frame._replace(payload=memoryview(b"")) for frame in delivery.frames]
                )
            )
        assert received == b"".join(payloads)
        assert len(deliveries) >= 2
        assert [frame.first for frame in chain(*(each.frames for each in deliveries))] == list(range(3000))

    def test_as_many_chunks_as_a_fetch_may_name(self, store: SourceStore, peer: Peer) -> None:
        payloads = [number.to_bytes(2) for number in range(FETCH_CHUNKS_MAX)]
        store.add(named(*payloads[1:]))
        frames = fetched(peer, *(piece(payload) for payload in payloads))
        assert [payload for _, payload in frames] == [b"", *payloads[1:]]
        assert frames[0][0].status == MISSING

    def test_a_run_with_references_comes_as_a_delta(self, store: SourceStore, peer: Peer) -> None:
        old = [noise(seed, 1000) for seed in range(8)]
        new = [part[:500] + b"!" + part[500:] for part in old]
        store.add(named(*old, *new))
        here = MemoryStore(clock=FrozenClock())
        here.add(named(*old))
        asked = piece(*new, references=old)
        frames = fetched(peer, piece(b"none"), asked)
        assert places(frames) == [(0, 0, 1, MISSING), (1, 0, 8, FrameStatus.DELTA)]
        assert frames[1][0].codec == Codec.ZSTD
        got = unpacked(peer, here, asked)
        assert [bytes(payload) for _, payload in got.chunks] == new
        assert got.saved_bytes > sum(map(len, new)) * 3 // 4

    def test_without_gain_or_without_the_references_a_run_comes_chunk_by_chunk(
        self, store: SourceStore, peer: Peer
    ) -> None:
        new, old = [noise(seed, 500) for seed in range(4)], [noise(seed, 500) for seed in range(4, 8)]
        store.add(named(*new, *old))
        for references in (old, [b"not at the source"]):
            frames = fetched(peer, piece(*new, references=references))
            assert places(frames) == [(0, index, 1, CHUNK) for index in range(4)]
            assert [payload for _, payload in frames] == new

    def test_a_run_with_references_of_which_a_chunk_is_missing_still_brings_the_others(
        self, store: SourceStore, peer: Peer
    ) -> None:
        store.add(named(b"one", b"old"))
        got = unpacked(peer, store, piece(b"one", b"absent", references=[b"old"]))
        assert [bytes(payload) for _, payload in got.chunks] == [b"one"]
        assert got.missing == [ref_of(b"absent")]

    def test_chunks_are_compressed_only_where_that_is_asked_for(self, store: SourceStore, peer: Peer) -> None:
        text, random = b"all work and no play " * 40, noise(1, 800)
        store.add(named(text, random))
        (plain, _), (other, _) = fetched(peer, piece(text, random))
        assert (plain.codec, other.codec) == (Codec.PLAIN, Codec.PLAIN)
        (packed, payload), (other, _) = fetched(peer, piece(text, random), compress=True)
        assert (packed.codec, other.codec) == (Codec.ZSTD, Codec.PLAIN)
        assert len(payload) < len(text) // 4
        got = unpacked(peer, store, piece(text, random), compress=True)
        assert [bytes(payload) for _, payload in got.chunks] == [text, random]
        assert got.saved_bytes == len(text) - len(payload)

    def test_a_fetch_may_be_left_before_its_end(self, store: SourceStore, peer: Peer) -> None:
        payloads = [noise(seed, 1024) for seed in range(3000)]
        store.add(named(*payloads))
        for _ in range(3):
            stream = peer.fetch([piece(*payloads)], compress=False)
            assert next(stream).frames[0].first == 0
            stream.close()  # type: ignore[attr-defined]
        assert fetched(peer, piece(payloads[0]))[0][1] == payloads[0]

    def test_a_closed_peer_fetches_no_more(self, store: SourceStore, peer: Peer) -> None:
        store.add(named(b"one"))
        assert fetched(peer, piece(b"one"))[0][1] == b"one"
        peer.close()
        with pytest.raises(Cancelled):
            fetched(peer, piece(b"one"))
