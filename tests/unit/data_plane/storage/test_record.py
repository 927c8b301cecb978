"""Records and segment headers: their bytes are a format on disk, and no damage to them goes unseen."""

from __future__ import annotations

import pytest

from replicator.data_plane.storage import record
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt

STORE_ID = bytes(range(16))
PAYLOAD = b"hello"
DIGEST = Digest.of(PAYLOAD)


def test_golden_bytes_of_a_segment_header() -> None:
    header = record.encode_segment_header(7, STORE_ID)
    assert header == (
        b"RPSEGMNT\x02\0\0\0"
        b"\0\0\0\x07" + STORE_ID + bytes(16) + bytes.fromhex("f8098c7e2d67ad351240c3ce3487130e")
    )
    assert len(header) == record.SEGMENT_HEADER_BYTES == 64


def test_the_segment_header_of_the_format_before_is_known() -> None:
    header = (
        b"RPSEGMNT\x01\0\0\0"
        b"\0\0\0\x07" + STORE_ID + bytes(16) + bytes.fromhex("54d185c5a9259418e6d2368e4ebe2775")
    )
    record.check_segment_header(header, 7, STORE_ID)
    assert record.decode_segment_header(header) == (7, STORE_ID)


@pytest.mark.parametrize("fmt", [0, 3, 255])
def test_a_segment_header_of_a_later_format_is_refused(fmt: int) -> None:
    header = record.encode_segment_header(7, STORE_ID, fmt)
    with pytest.raises(Corrupt):
        record.check_segment_header(header, 7, STORE_ID)
    with pytest.raises(Corrupt):
        record.decode_segment_header(header)


def test_a_segment_header_says_whose_it_is() -> None:
    header = record.encode_segment_header(7, STORE_ID)
    assert record.decode_segment_header(header) == (7, STORE_ID)
    for damaged in (b"", header[:47], header[:63], header[:20] + b"?" + header[21:]):
        with pytest.raises(Corrupt):
            record.decode_segment_header(damaged)


def test_golden_bytes_of_a_record() -> None:
    header = record.encode_record_header(DIGEST, PAYLOAD)
    assert header == (
        b"RPCK\x01\x01\0\0\0\0\0\x05\0\0\0\x05" + DIGEST + bytes.fromhex("d83f36e3ed07ae8e2c083895c15c5c65")
    )
    assert len(header) == record.RECORD_HEADER_BYTES == 64


def test_golden_bytes_of_a_compressed_record_and_of_an_entry() -> None:
    header = record.encode_record_header(DIGEST, b"zs", codec=record.CODEC_ZSTD, raw_length=5)
    assert header[:16] == b"RPCK\x01\x01\x01\0\0\0\0\x02\0\0\0\x05"
    assert header[16:48] == DIGEST
    assert record.decode_record_header(header) == (1, 1, 2, 5, DIGEST)
    record.check_record(memoryview(header), b"zs", DIGEST)
    kinds = (record.KIND_MANIFEST, record.KIND_PAGE, record.KIND_VERSION, record.KIND_DROP)
    assert (*kinds, record.KIND_BUCKET, record.KIND_COMMIT) == (2, 3, 4, 5, 6, 7)
    assert record.encode_record_header(DIGEST, PAYLOAD, kind=7)[:8] == b"RPCK\x01\x07\0\0"


def test_two_lengths_without_a_codec_are_refused() -> None:
    header = record.encode_record_header(DIGEST, PAYLOAD, raw_length=6)
    with pytest.raises(Corrupt, match="two lengths"):
        record.decode_record_header(header)


def test_a_record_header_says_what_it_was_made_from() -> None:
    for payload in (b"", b"x", bytes(300_000)):
        header = record.encode_record_header(Digest.of(payload), memoryview(payload))
        expected = record.RecordHeader(
            record.KIND_CHUNK, record.CODEC_NONE, len(payload), len(payload), Digest.of(payload)
        )
        assert record.decode_record_header(header) == expected
        record.check_record(memoryview(header), payload, Digest.of(payload))


def test_any_flipped_bit_of_a_record_is_seen() -> None:
    whole = record.encode_record_header(DIGEST, PAYLOAD) + PAYLOAD
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        view = memoryview(damaged)
        with pytest.raises(Corrupt) as caught:
            record.check_record(
                view[: record.RECORD_HEADER_BYTES], view[record.RECORD_HEADER_BYTES :], DIGEST
            )
        assert caught.value.data["digest"] == str(DIGEST)


def test_an_intact_record_of_another_chunk_is_refused() -> None:
    header = record.encode_record_header(DIGEST, PAYLOAD)
    with pytest.raises(Corrupt, match="another chunk"):
        record.check_record(memoryview(header), PAYLOAD, Digest.of(b"other"))


def test_a_payload_cut_short_or_made_longer_is_refused() -> None:
    header = memoryview(record.encode_record_header(DIGEST, PAYLOAD))
    for payload in (b"", PAYLOAD[:-1], PAYLOAD + b"\0"):
        with pytest.raises(Corrupt, match="checksum"):
            record.check_record(header, payload, DIGEST)


@pytest.mark.parametrize(
    ("offset", "what"),
    [
        (0, "magic"),
        (3, "magic"),
        (4, "format"),
        (5, "kind"),
        (6, "codec"),
        (7, "reserved byte"),
        (15, "lengths"),
    ],
)
def test_a_header_this_release_does_not_know_is_refused(offset: int, what: str) -> None:
    header = bytearray(record.encode_record_header(DIGEST, PAYLOAD))
    header[offset] ^= 0x10
    with pytest.raises(Corrupt):
        record.decode_record_header(header)


def test_a_segment_header_is_that_of_one_segment_of_one_store() -> None:
    header = record.encode_segment_header(7, STORE_ID)
    record.check_segment_header(header, 7, STORE_ID)
    record.check_segment_header(bytearray(header), 7, STORE_ID)
    for data, number, store_id in [
        (header, 8, STORE_ID),
        (header, 7, bytes(16)),
        (header[:-1], 7, STORE_ID),
        (header + b"\0", 7, STORE_ID),
        (bytes(64), 7, STORE_ID),
    ]:
        with pytest.raises(Corrupt, match=f"segment {number}"):
            record.check_segment_header(data, number, store_id)


def test_any_flipped_bit_of_a_segment_header_is_seen() -> None:
    header = record.encode_segment_header(7, STORE_ID)
    for bit in range(8 * len(header)):
        damaged = bytearray(header)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt):
            record.check_segment_header(damaged, 7, STORE_ID)
