"""The wire format of `FetchReply`, written and read without copying payloads. Pure.

What protobuf's own classes do with a mebibyte of payload is copy it: into the message, out of the message, into
the encoding, on both sides. That halves what a stream carries, so for this one message the encoding
(https://protobuf.dev/programming-guides/encoding/) is spelled out here: fields are `tag | varint` or
`tag | length varint | bytes`. A test holds it against the generated classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from replicator.data_plane.replication.messages.replies import Sent
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import BrokenPeer
from replicator.wire.frames import Frame, checked_frame

_VARINT, _LENGTH = 0, 2
_FRAMES = 1
_DIGEST, _STATUS, _CODEC, _PAYLOAD = 1, 2, 3, 4
_VARINT_BYTES_MAX = 10


def encode_frames(frames: Iterable[Sent]) -> bytes:
    """A `FetchReply` of these frames."""
    parts: list[bytes | memoryview] = []
    for frame in frames:
        head = _encode_head(frame)
        parts += [_tag(_FRAMES, _LENGTH) + _varint(len(head) + len(frame.payload)), head, frame.payload]
    return b"".join(parts)


def decode_frames(encoded: bytes, *, payload_bytes_max: int) -> list[tuple[Frame, memoryview]]:
    """The frames of a `FetchReply`, each well-formed, with their payloads, which are views of `encoded`.

    Raises:
        BrokenPeer: it is no such message, or a frame is none that `checked_frame` lets pass.
    """
    return [
        _decode_frame(value, payload_bytes_max)
        for field, value in _fields(memoryview(encoded))
        if field == _FRAMES and not isinstance(value, int)
    ]


def _encode_head(frame: Sent) -> bytes:
    """Everything but the payload, which comes last; fields that are 0 or empty are left out."""
    head = _tag(_DIGEST, _LENGTH) + _varint(len(frame.digest)) + frame.digest
    if frame.status:
        head += _tag(_STATUS, _VARINT) + _varint(frame.status)
    if frame.codec:
        head += _tag(_CODEC, _VARINT) + _varint(frame.codec)
    if frame.payload:
        head += _tag(_PAYLOAD, _LENGTH) + _varint(len(frame.payload))
    return head


def _decode_frame(encoded: memoryview, payload_bytes_max: int) -> tuple[Frame, memoryview]:
    # As in every reader of protobuf, of a field that comes twice the last one counts, and one that is not known
    # is passed over.
    numbers = {_STATUS: 0, _CODEC: 0}
    bodies = {_DIGEST: memoryview(b""), _PAYLOAD: memoryview(b"")}
    for field, value in _fields(encoded):
        if field in numbers and isinstance(value, int):
            numbers[field] = value
        elif field in bodies and not isinstance(value, int):
            bodies[field] = value
    digest, payload = bodies[_DIGEST], bodies[_PAYLOAD]
    if len(digest) != DIGEST_BYTES:
        raise BrokenPeer(f"the peer sent a frame whose digest has {len(digest)} bytes")
    status, codec = numbers[_STATUS], numbers[_CODEC]
    return checked_frame(Digest(bytes(digest)), status, codec, len(payload), payload_bytes_max), payload


def _fields(encoded: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each field."""
    at = 0
    while at < len(encoded):
        tag, at = _read_varint(encoded, at)
        value, at = _read_varint(encoded, at)
        if tag & 7 == _LENGTH:
            if value > len(encoded) - at:
                raise BrokenPeer("the peer sent frames that are cut short")
            yield tag >> 3, encoded[at : at + value]
            at += value
        elif tag & 7 == _VARINT:
            yield tag >> 3, value
        else:
            raise BrokenPeer("the peer sent a frame this release does not know", tag=tag)


def _read_varint(encoded: Sequence[int], at: int) -> tuple[int, int]:
    """(value, where the next field begins)."""
    value = 0
    for position in range(at, min(at + _VARINT_BYTES_MAX, len(encoded))):
        byte = encoded[position]
        value |= (byte & 0x7F) << 7 * (position - at)
        if byte < 0x80:
            return value, position + 1
    raise BrokenPeer("the peer sent frames that are cut short")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _tag(field: int, kind: int) -> bytes:
    return bytes([field << 3 | kind])
