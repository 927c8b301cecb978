"""`FetchReply` written and read by hand is what protobuf makes of it, and garbage is refused in the tree of errors."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.data_plane.replication.fetch_reply import decode_frames, encode_frames
from replicator.data_plane.replication.messages.replies import Sent
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer
from replicator.wire.frames import Codec, FrameStatus
from replicator.wire.pb import replication_pb2 as pb

PAYLOAD_BYTES_MAX = 40_000
digests = st.binary(min_size=32, max_size=32).map(Digest)
payloads = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.integers(120, 130).map(bytes),
    st.integers(16_380, 16_390).map(bytes),
)
sent = st.one_of(
    st.builds(Sent, digests, st.just(FrameStatus.CHUNK), st.sampled_from(Codec), payloads),
    st.builds(Sent, digests, st.just(FrameStatus.DELTA), st.just(Codec.ZSTD), payloads),
    st.builds(
        Sent,
        digests,
        st.sampled_from([FrameStatus.MISSING, FrameStatus.CORRUPT]),
        st.just(Codec.PLAIN),
        st.just(b""),
    ),
)


def by_protobuf(frames: list[Sent]) -> pb.FetchReply:
    return pb.FetchReply(
        frames=[
            pb.Frame(
                digest=each.digest,
                status=cast("pb.Frame.Status", int(each.status)),
                codec=cast("pb.Frame.Codec", int(each.codec)),
                payload=bytes(each.payload),
            )
            for each in frames
        ]
    )


@given(st.lists(sent, max_size=6))
def test_what_is_written_by_hand_is_what_protobuf_writes(frames: list[Sent]) -> None:
    views = [frame._replace(payload=memoryview(frame.payload)) for frame in frames]
    assert encode_frames(views) == by_protobuf(frames).SerializeToString(deterministic=True)


@given(st.lists(sent, max_size=6))
def test_what_protobuf_writes_is_read_by_hand(frames: list[Sent]) -> None:
    encoded = by_protobuf(frames).SerializeToString()
    decoded = decode_frames(encoded, payload_bytes_max=PAYLOAD_BYTES_MAX)
    assert [
        Sent(frame.digest, frame.status, frame.codec, bytes(payload)) for frame, payload in decoded
    ] == frames
    assert all(payload.obj is encoded for _, payload in decoded if payload)


@given(st.lists(sent, min_size=1, max_size=3), st.integers(1, 40), st.binary(max_size=8))
def test_what_is_cut_short_or_altered_is_refused_or_read(
    frames: list[Sent], cut: int, inserted: bytes
) -> None:
    encoded = encode_frames(frames)
    at = cut % len(encoded)
    for altered in (encoded[:-cut], encoded[:at] + inserted + encoded[at:], inserted):
        try:
            decoded = decode_frames(altered, payload_bytes_max=PAYLOAD_BYTES_MAX)
        except BrokenPeer:
            continue
        assert sum(len(payload) for _, payload in decoded) <= len(altered)


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_refused(data: bytes) -> None:
    try:
        decode_frames(data, payload_bytes_max=100)
    except BrokenPeer:
        return


@pytest.mark.parametrize(
    "frame",
    [
        pb.Frame(digest=bytes(31), payload=b"a"),
        pb.Frame(digest=bytes(32)),
        pb.Frame(digest=bytes(32), payload=bytes(101)),
        pb.Frame(digest=bytes(32), status=pb.Frame.MISSING, payload=b"a"),
        pb.Frame(digest=bytes(32), status=pb.Frame.DELTA, payload=b"a"),
        pb.Frame(payload=b"a"),
    ],
    ids=["short digest", "no payload", "too long", "missing with bytes", "plain delta", "no digest"],
)
def test_a_frame_that_may_not_be_is_refused(frame: pb.Frame) -> None:
    with pytest.raises(BrokenPeer):
        decode_frames(pb.FetchReply(frames=[frame]).SerializeToString(), payload_bytes_max=100)


def test_fields_of_a_later_release_are_passed_over() -> None:
    encoded = pb.Frame(digest=bytes(32), payload=b"a").SerializeToString() + bytes(
        [9 << 3, 1, 10 << 3 | 2, 1, 0]
    )
    message = bytes([1 << 3 | 2, len(encoded)]) + encoded + bytes([7 << 3 | 2, 1, 0])
    ((frame, payload),) = decode_frames(message, payload_bytes_max=100)
    assert (frame.status, bytes(payload)) == (FrameStatus.CHUNK, b"a")
