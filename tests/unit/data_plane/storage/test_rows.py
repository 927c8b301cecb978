"""Rows of the catalog: their bytes are a format on disk, and what is not of that format is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from replicator.data_plane.ports import Version
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.rows import Location
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionId
from replicator.testing.objects import LongObject, manifest_of

DIGEST = Digest(bytes(range(32)))
LOCATION = Location(segment=3, offset=2**40 + 5, length=65_537)
VERSION = Version(
    bucket=BucketName("default"),
    object_id=ObjectId("a/é"),
    version=VersionId(bytes(range(16))),
    manifest=DIGEST,
    size=2**33,
    chunk_count=77,
    content_type="text/plain; charset=utf-8",
)


def test_golden_bytes_of_rows() -> None:
    assert rows.encode_location(LOCATION).hex() == "01000000000300000100000000050001000100010001"
    assert rows.encode_version_row(VERSION).hex() == (
        "01" + DIGEST.hex() + "0000000200000000" + "000000000000004d" + b"text/plain; charset=utf-8".hex()
    )
    assert rows.encode_store_row(bytes(range(16))).hex() == "01000102030405060708090a0b0c0d0e0f"
    assert rows.encode_counters(2**63 + 1, 9).hex() == "0180000000000000010000000000000009"
    assert rows.encode_number(258).hex() == "0000000000000102"
    manifest = manifest_of(b"one")
    assert rows.encode_manifest_row(manifest, 6).hex() == "010000000000000006" + manifest.encoded.hex()


def test_golden_bytes_of_keys() -> None:
    assert rows.version_key(VERSION) == (
        b"default\0a/\xc3\xa9\0" + bytes.fromhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0")
    )
    assert rows.chunk_ref_key(DIGEST, 258) == DIGEST + bytes.fromhex("0000000000000102")
    assert rows.manifest_ref_key(DIGEST, VERSION.version) == DIGEST + bytes(range(16))
    assert rows.page_key(258, 3) == bytes.fromhex("000000000000010200000003")
    assert rows.page_key(258, 3).startswith(rows.pages_prefix(258))
    assert rows.segment_key(258) == b"segment/\0\0\x01\x02"
    assert rows.staged_key(258) == b"staged/\0\0\0\0\0\0\x01\x02"
    assert rows.outbox_key(1, 2) == b"outbox/" + bytes.fromhex("00000000000000010000000000000002")
    assert (rows.STORE_KEY, rows.COUNTERS_KEY) == (b"store", b"counters")


def test_what_is_encoded_is_decoded() -> None:
    assert rows.decode_location(rows.encode_location(LOCATION)) == LOCATION
    assert rows.decode_version(rows.version_key(VERSION), rows.encode_version_row(VERSION)) == VERSION
    assert rows.decode_store_row(rows.encode_store_row(bytes(range(16)))) == bytes(range(16))
    assert rows.decode_counters(rows.encode_counters(5, 9)) == (5, 9)
    assert rows.decode_number(rows.encode_number(2**64 - 1)) == 2**64 - 1
    assert rows.segment_number(rows.segment_key(99_999_999)) == 99_999_999
    assert rows.staged_number(rows.staged_key(2**64 - 1)) == 2**64 - 1
    assert rows.decode_outbox_key(rows.outbox_key(2**64 - 1, 7)) == (2**64 - 1, 7)
    for manifest in (manifest_of(), manifest_of(b"one", b"two"), LongObject().manifest):
        number, decoded = rows.decode_manifest_row(rows.encode_manifest_row(manifest, 6), manifest.digest)
        assert (number, decoded.encoded) == (6, manifest.encoded)


def test_a_version_id_that_holds_separators_does_not_confuse_its_key() -> None:
    for raw in (bytes(16), b"\xff" * 16, b"\xff\0" * 8):
        version = Version(
            bucket=VERSION.bucket,
            object_id=VERSION.object_id,
            version=VersionId(raw),
            manifest=DIGEST,
            size=0,
            chunk_count=0,
            content_type="",
        )
        assert rows.decode_version(rows.version_key(version), rows.encode_version_row(version)) == version


def test_later_versions_come_first_and_objects_stay_together() -> None:
    def key(object_id: str, number: int) -> bytes:
        version = Version(
            bucket=VERSION.bucket,
            object_id=ObjectId(object_id),
            version=VersionId(number.to_bytes(16)),
            manifest=DIGEST,
            size=0,
            chunk_count=0,
            content_type="",
        )
        return rows.version_key(version)

    ordered = [key("a", 2**127), key("a", 300), key("a", 299), key("a ", 1), key("a/b", 1), key("aa", 1)]
    assert sorted(set(ordered)) == ordered


def test_a_reference_is_not_a_location() -> None:
    assert rows.is_chunk_key(DIGEST)
    assert not rows.is_chunk_key(rows.chunk_ref_key(DIGEST, 1))


MANIFEST = manifest_of(b"one")
DECODERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "location": (rows.encode_location(LOCATION), rows.decode_location),
    "version": (
        rows.encode_version_row(VERSION),
        lambda row: rows.decode_version(rows.version_key(VERSION), row),
    ),
    "manifest": (
        rows.encode_manifest_row(MANIFEST, 1),
        lambda row: rows.decode_manifest_row(row, MANIFEST.digest),
    ),
    "store": (rows.encode_store_row(bytes(16)), rows.decode_store_row),
    "counters": (rows.encode_counters(1, 1), rows.decode_counters),
}


@pytest.mark.parametrize("name", DECODERS)
def test_a_row_of_a_later_format_is_refused(name: str) -> None:
    row, decode = DECODERS[name]
    for format_number in (0, 2, 255):
        with pytest.raises(Corrupt):
            decode(bytes([format_number]) + row[1:])


@pytest.mark.parametrize("name", DECODERS)
def test_a_row_cut_short_is_refused(name: str) -> None:
    row, decode = DECODERS[name]
    for length in range(17):
        with pytest.raises(Corrupt):
            decode(row[:length])


def test_numbers_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(Corrupt):
        rows.decode_number(bytes(7))
    with pytest.raises(Corrupt):
        rows.decode_outbox_key(rows.OUTBOX_PREFIX + bytes(15))


def test_a_location_in_a_codec_of_a_later_release_is_refused() -> None:
    row = bytearray(rows.encode_location(LOCATION))
    with pytest.raises(Corrupt):
        rows.decode_location(bytes(row[:1] + b"\x01" + row[2:]))
    with pytest.raises(Corrupt):
        rows.decode_location(bytes(row[:-1] + b"\x02"))


def test_a_manifest_row_under_another_digest_is_refused() -> None:
    with pytest.raises(Corrupt):
        rows.decode_manifest_row(rows.encode_manifest_row(MANIFEST, 1), manifest_of(b"two").digest)
