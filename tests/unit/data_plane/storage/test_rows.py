"""Rows of the catalog: their bytes are a format on disk, and what is not of that format is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from replicator.data_plane.ports import Bucket, DeleteMarker, Version, Versioning
from replicator.data_plane.storage import format1, rows
from replicator.data_plane.storage.record import CODEC_ZSTD
from replicator.data_plane.storage.rows import BucketRow, Location, ManifestRow, PageRow, Place
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionId
from replicator.testing.objects import LongObject, manifest_of

DIGEST = Digest(bytes(range(32)))
LOCATION = Location(segment=3, offset=2**40 + 5, stored_length=65_537, raw_length=65_537)
PLACE = Place(segment=258, offset=2**40 + 5)
PLACE_HEX = "00000102" + "0000010000000005"
VERSION = Version(
    bucket=BucketName("default"),
    object_id=ObjectId("a/é"),
    version=VersionId(bytes(range(16))),
    manifest=DIGEST,
    size=2**33,
    chunk_count=77,
    content_type="text/plain; charset=utf-8",
    null=True,
)
MARKER = DeleteMarker(bucket=VERSION.bucket, object_id=VERSION.object_id, version=VERSION.version, null=False)
BUCKET = BucketRow(Bucket(BucketName("photos"), Versioning.SUSPENDED, 2**40 + 1), removed=False, place=PLACE)
MANIFEST = manifest_of(b"one")
MANIFEST_ROW = ManifestRow(number=6, place=PLACE, retired_ms=259, manifest=MANIFEST)
PAGE = PageRow(PLACE, LongObject().pages[0][1])


def key_of(version: Version | DeleteMarker) -> bytes:
    return rows.version_key(version.bucket, version.object_id, version.version)


def test_golden_bytes_of_rows() -> None:
    assert rows.encode_location(LOCATION).hex() == "01000000000300000100000000050001000100010001"
    compressed = LOCATION._replace(stored_length=9, codec=CODEC_ZSTD)
    assert rows.encode_location(compressed).hex() == "01010000000300000100000000050000000900010001"
    assert rows.encode_manifest_row(MANIFEST_ROW).hex() == (
        "02" + "0000000000000006" + PLACE_HEX + "0000000000000103" + MANIFEST.encoded.hex()
    )
    assert rows.encode_page_row(PAGE).hex() == "02" + PLACE_HEX + PAGE.encoded.hex()
    assert rows.encode_bucket_row(BUCKET).hex() == "02" + "00" + "02" + "0000010000000001" + PLACE_HEX
    removed = BUCKET._replace(removed=True, bucket=BUCKET.bucket._replace(versioning=Versioning.ON))
    assert rows.encode_bucket_row(removed).hex() == "02" + "01" + "01" + "0000010000000001" + PLACE_HEX
    assert rows.encode_store_row(bytes(range(16))).hex() == "02000102030405060708090a0b0c0d0e0f"
    assert rows.encode_counters(2**63 + 1, 9, 258).hex() == (
        "02" + "8000000000000001" + "0000000000000009" + "0000000000000102"
    )
    assert rows.encode_segment_row(258, 2**40).hex() == "02" + "0000000000000102" + "0000010000000000"
    assert rows.encode_number(258).hex() == "0000000000000102"


def test_golden_bytes_of_version_rows() -> None:
    content_type = b"text/plain; charset=utf-8".hex()
    rest = PLACE_HEX + DIGEST.hex() + "0000000200000000" + "000000000000004d" + content_type
    assert rows.encode_version_row(VERSION, PLACE).hex() == "02" + "01" + rest
    assert rows.encode_version_row(replace(VERSION, null=False), PLACE).hex() == "02" + "00" + rest
    nothing = PLACE_HEX + "00" * (32 + 8 + 8)
    assert rows.encode_version_row(MARKER, PLACE).hex() == "02" + "02" + nothing
    assert rows.encode_version_row(replace(MARKER, null=True), PLACE).hex() == "02" + "03" + nothing


def test_golden_bytes_of_keys() -> None:
    assert key_of(VERSION) == (b"default\0a/\xc3\xa9\0" + bytes.fromhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0"))
    assert rows.chunk_ref_key(DIGEST, 258) == DIGEST + bytes.fromhex("0000000000000102")
    assert rows.manifest_ref_key(DIGEST, VERSION.version) == DIGEST + bytes(range(16))
    assert rows.page_key(258, 3) == bytes.fromhex("000000000000010200000003")
    assert rows.page_key(258, 3).startswith(rows.pages_prefix(258))
    assert rows.segment_key(258) == b"segment/\0\0\x01\x02"
    assert rows.drops_key(258, 3) == b"drops/\0\0\x01\x02\0\0\0\x03"
    assert rows.copied_key(258) == b"copied/\0\0\x01\x02"
    assert rows.staged_key(258) == b"staged/\0\0\0\0\0\0\x01\x02"
    assert rows.retiring_key(258, DIGEST) == b"retiring/\0\0\0\0\0\0\x01\x02" + DIGEST
    assert rows.damaged_key(DIGEST) == b"damaged/" + DIGEST
    assert rows.outbox_key(1, 2) == b"outbox/" + bytes.fromhex("00000000000000010000000000000002")
    assert (rows.STORE_KEY, rows.COUNTERS_KEY) == (b"store", b"counters")


def test_what_is_encoded_is_decoded() -> None:
    for location in (LOCATION, LOCATION._replace(stored_length=9, codec=CODEC_ZSTD)):
        assert rows.decode_location(rows.encode_location(location)) == location
    for version in (VERSION, replace(VERSION, null=False), MARKER, replace(MARKER, null=True)):
        row = rows.encode_version_row(version, PLACE)
        assert rows.decode_version(key_of(version), row) == version
        assert rows.version_place(row) == PLACE
    for bucket in (BUCKET, BUCKET._replace(removed=True)):
        assert rows.decode_bucket_row(b"photos", rows.encode_bucket_row(bucket)) == bucket
    assert rows.decode_page_row(rows.encode_page_row(PAGE)) == PAGE
    assert rows.decode_store_row(rows.encode_store_row(bytes(range(16)))) == (2, bytes(range(16)))
    assert rows.decode_counters(rows.encode_counters(5, 9, 11)) == (5, 9, 11)
    assert rows.decode_segment_row(rows.encode_segment_row(7, 5)) == (7, 5)
    assert rows.decode_number(rows.encode_number(2**64 - 1)) == 2**64 - 1
    for manifest in (manifest_of(), manifest_of(b"one", b"two"), LongObject().manifest):
        kept = MANIFEST_ROW._replace(manifest=manifest)
        row = rows.encode_manifest_row(kept)
        decoded = rows.decode_manifest_row(row, manifest.digest)
        assert decoded == kept
        assert decoded.manifest.encoded == manifest.encoded
        assert rows.manifest_row_place(row) == PLACE


def test_keys_say_what_they_were_made_from() -> None:
    assert rows.segment_number(rows.segment_key(99_999_999)) == 99_999_999
    assert rows.decode_drops_key(rows.drops_key(2**32 - 1, 7)) == (2**32 - 1, 7)
    assert rows.copied_segment(rows.copied_key(258)) == 258
    assert rows.staged_number(rows.staged_key(2**64 - 1)) == 2**64 - 1
    assert rows.decode_retiring_key(rows.retiring_key(2**64 - 1, DIGEST)) == (2**64 - 1, DIGEST)
    assert rows.damaged_digest(rows.damaged_key(DIGEST)) == DIGEST
    assert rows.decode_outbox_key(rows.outbox_key(2**64 - 1, 7)) == (2**64 - 1, 7)
    assert rows.decode_page_key(rows.page_key(2**64 - 1, 7)) == (2**64 - 1, 7)
    assert rows.chunk_ref_number(rows.chunk_ref_key(DIGEST, 2**64 - 1)) == 2**64 - 1


def test_the_row_of_a_latest_version() -> None:
    key = rows.object_prefix(VERSION.bucket, VERSION.object_id)
    assert rows.decode_head(key, VERSION.version + rows.encode_version_row(VERSION, PLACE)) == VERSION
    with pytest.raises(Corrupt, match="delete marker"):
        rows.decode_head(key, MARKER.version + rows.encode_version_row(MARKER, PLACE))


def test_rows_of_the_format_before_are_known_for_what_they_are() -> None:
    version_row = b"\x01" + struct.pack(">32sQQ", DIGEST, 5, 1) + b"text/plain"
    version = format1.decode_version(key_of(VERSION), version_row)
    assert version == replace(VERSION, size=5, chunk_count=1, content_type="text/plain")
    assert format1.decode_version(key_of(VERSION), rows.encode_version_row(VERSION, PLACE)) is None
    manifest_row = b"\x01" + (9).to_bytes(8) + MANIFEST.encoded
    assert format1.decode_manifest_row(manifest_row, MANIFEST.digest) == (9, MANIFEST)
    assert format1.decode_manifest_row(rows.encode_manifest_row(MANIFEST_ROW), MANIFEST.digest) is None
    assert format1.is_page_row(PAGE.encoded)
    assert not format1.is_page_row(rows.encode_page_row(PAGE))
    assert rows.decode_segment_row((77).to_bytes(8)) == (77, 0)
    assert rows.decode_counters(b"\x01" + (5).to_bytes(8) + (9).to_bytes(8)) == (5, 9, 0)
    assert rows.decode_store_row(b"\x01" + bytes(range(16))) == (1, bytes(range(16)))


def test_a_version_id_that_holds_separators_does_not_confuse_its_key() -> None:
    for raw in (bytes(16), b"\xff" * 16, b"\xff\0" * 8):
        version = replace(VERSION, version=VersionId(raw))
        row = rows.encode_version_row(version, PLACE)
        assert rows.decode_version(key_of(version), row) == version


def test_later_versions_come_first_and_objects_stay_together() -> None:
    def key(object_id: str, number: int) -> bytes:
        return rows.version_key(VERSION.bucket, ObjectId(object_id), VersionId(number.to_bytes(16)))

    ordered = [key("a", 2**127), key("a", 300), key("a", 299), key("a ", 1), key("a/b", 1), key("aa", 1)]
    assert sorted(set(ordered)) == ordered


def test_a_reference_is_not_a_location() -> None:
    assert rows.is_chunk_key(DIGEST)
    assert not rows.is_chunk_key(rows.chunk_ref_key(DIGEST, 1))


DECODERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "location": (rows.encode_location(LOCATION), rows.decode_location),
    "version": (
        rows.encode_version_row(VERSION, PLACE),
        lambda row: rows.decode_version(key_of(VERSION), row),
    ),
    "head": (
        rows.encode_version_row(VERSION, PLACE),
        lambda row: rows.decode_head(b"default\0a", VERSION.version + row),
    ),
    "manifest": (
        rows.encode_manifest_row(MANIFEST_ROW),
        lambda row: rows.decode_manifest_row(row, MANIFEST.digest),
    ),
    "page": (rows.encode_page_row(PAGE), rows.decode_page_row),
    "bucket": (rows.encode_bucket_row(BUCKET), lambda row: rows.decode_bucket_row(b"photos", row)),
    "segment": (rows.encode_segment_row(1, 1), rows.decode_segment_row),
    "store": (rows.encode_store_row(bytes(16)), rows.decode_store_row),
    "counters": (rows.encode_counters(1, 1, 1), rows.decode_counters),
}


@pytest.mark.parametrize("name", DECODERS)
def test_a_row_of_a_later_format_is_refused(name: str) -> None:
    row, decode = DECODERS[name]
    decode(row)
    for format_number in (0, 3, 255):
        with pytest.raises(Corrupt):
            decode(bytes([format_number]) + row[1:])


@pytest.mark.parametrize("name", DECODERS)
def test_a_row_cut_short_is_refused(name: str) -> None:
    row, decode = DECODERS[name]
    # Eight bytes are a segment's row of the format before.
    for length in set(range(13)) - ({8} if name == "segment" else set()):
        with pytest.raises(Corrupt):
            decode(row[:length])


def test_a_location_in_a_codec_of_a_later_release_is_refused() -> None:
    row = rows.encode_location(LOCATION)
    for unknown in (row[:1] + b"\x02" + row[2:], row[:1] + b"\xff" + row[2:]):
        with pytest.raises(Corrupt, match="codec"):
            rows.decode_location(unknown)


def test_a_location_with_two_lengths_and_no_codec_is_refused() -> None:
    with pytest.raises(Corrupt, match="codec"):
        rows.decode_location(rows.encode_location(LOCATION._replace(stored_length=9)))


def test_a_bucket_row_with_a_state_of_a_later_release_is_refused() -> None:
    row = rows.encode_bucket_row(BUCKET)
    with pytest.raises(Corrupt):
        rows.decode_bucket_row(b"photos", row[:2] + b"\x03" + row[3:])


def test_numbers_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(Corrupt):
        rows.decode_number(bytes(7))
    with pytest.raises(Corrupt):
        rows.decode_outbox_key(rows.OUTBOX_PREFIX + bytes(15))
    with pytest.raises(Corrupt):
        rows.decode_drops_key(rows.DROPS_PREFIX + bytes(7))
    with pytest.raises(Corrupt):
        rows.decode_retiring_key(rows.RETIRING_PREFIX + bytes(39))
    with pytest.raises(Corrupt):
        rows.decode_page_key(bytes(11))


def test_a_manifest_row_under_another_digest_is_refused() -> None:
    with pytest.raises(Corrupt):
        rows.decode_manifest_row(rows.encode_manifest_row(MANIFEST_ROW), manifest_of(b"two").digest)
