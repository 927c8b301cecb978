"""Entries of the log: their bytes are a format on disk, and what is not of that format is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.data_plane.ports import Bucket, DeleteMarker, Version, Versioning
from replicator.data_plane.storage import record
from replicator.data_plane.storage.entries import (
    BucketEntry,
    CommitEntry,
    DropEntry,
    Entry,
    ManifestEntry,
    PageEntry,
    VersionEntry,
    bucket_record_bytes,
    decode_entry,
    drop_record_bytes,
    encode_entry,
    manifest_record_bytes,
    page_record_bytes,
    version_record_bytes,
)
from replicator.data_plane.storage.record import RECORD_HEADER_BYTES
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import Corrupt
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VERSION_ID_BYTES, VersionId
from replicator.testing.objects import LongObject, manifest_of

DIGEST = Digest(bytes(range(32)))
LSN = 2**40 + 5
HEAD = "01" + "0000010000000005"
ID_HEX = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
VERSION = Version(
    bucket=BucketName("photos"),
    object_id=ObjectId("a/é"),
    version=VersionId(bytes.fromhex(ID_HEX)),
    manifest=DIGEST,
    size=2**33,
    chunk_count=77,
    content_type="image/png",
)
MARKER = DeleteMarker(bucket=VERSION.bucket, object_id=VERSION.object_id, version=VERSION.version)
BUCKET = Bucket(BucketName("photos"), Versioning.SUSPENDED, 2**40 + 1)
NAMES = b"photos" + b"a/\xc3\xa9"
MANIFEST = manifest_of(b"one")
PAGE = LongObject().pages[0][1]


@pytest.mark.parametrize(
    ("entry", "kind", "expected"),
    [
        (ManifestEntry(LSN, 258, MANIFEST.encoded), 2, "0000000000000102" + MANIFEST.encoded.hex()),
        (PageEntry(LSN, 258, 3, PAGE), 3, "0000000000000102" + "00000003" + PAGE.hex()),
        (
            DropEntry(LSN, 258, VERSION.bucket, VERSION.object_id, VERSION.version),
            5,
            "00000102" + ID_HEX + "06" + NAMES.hex(),
        ),
        (BucketEntry(LSN, BUCKET, False), 6, "00" + "02" + "0000010000000001" + b"photos".hex()),
        (
            BucketEntry(LSN, BUCKET._replace(versioning=Versioning.OFF), True),
            6,
            "01" + "00" + "0000010000000001" + b"photos".hex(),
        ),
        (CommitEntry(LSN, 258), 7, "00000102"),
    ],
    ids=["manifest", "page", "drop", "bucket", "removed bucket", "commit"],
)
def test_golden_bytes_of_entries(entry: Entry, kind: int, expected: str) -> None:
    assert encode_entry(entry) == (kind, bytes.fromhex(HEAD + expected))


@pytest.mark.parametrize("null", [False, True])
def test_golden_bytes_of_versions_and_markers(null: bool) -> None:
    lengths = "06" + "0004"
    version = DIGEST.hex() + "0000000200000000" + "000000000000004d" + lengths + NAMES.hex()
    assert encode_entry(VersionEntry(LSN, replace(VERSION, null=null))) == (
        4,
        bytes.fromhex(HEAD + f"{int(null):02x}" + ID_HEX + version) + b"image/png",
    )
    nothing = "00" * (32 + 8 + 8) + lengths + NAMES.hex()
    assert encode_entry(VersionEntry(LSN, replace(MARKER, null=null))) == (
        4,
        bytes.fromhex(HEAD + f"{2 + null:02x}" + ID_HEX + nothing),
    )


U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)
BUCKETS = st.from_regex(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", fullmatch=True).map(BucketName)
OBJECT_IDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=256).map(
    ObjectId
)
VERSION_IDS = st.binary(min_size=VERSION_ID_BYTES, max_size=VERSION_ID_BYTES).map(VersionId)
DIGESTS = st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES).map(Digest)
VERSIONS = st.builds(
    Version,
    bucket=BUCKETS,
    object_id=OBJECT_IDS,
    version=VERSION_IDS,
    manifest=DIGESTS,
    size=U64,
    chunk_count=U64,
    content_type=st.from_regex(r"[\x20-\x7e]{1,1024}", fullmatch=True),
    null=st.booleans(),
)
MARKERS = st.builds(
    DeleteMarker, bucket=BUCKETS, object_id=OBJECT_IDS, version=VERSION_IDS, null=st.booleans()
)
BUCKET_VALUES = st.builds(Bucket, BUCKETS, st.sampled_from(Versioning), U64)
ENTRIES: st.SearchStrategy[Entry] = st.one_of(
    st.builds(ManifestEntry, U64, U64, st.binary()),
    st.builds(PageEntry, U64, U64, U32, st.binary()),
    st.builds(VersionEntry, U64, st.one_of(VERSIONS, MARKERS)),
    st.builds(DropEntry, U64, U32, BUCKETS, OBJECT_IDS, VERSION_IDS),
    st.builds(BucketEntry, U64, BUCKET_VALUES, st.booleans()),
    st.builds(CommitEntry, U64, U32),
)


@given(entry=ENTRIES)
def test_what_is_encoded_is_decoded(entry: Entry) -> None:
    kind, payload = encode_entry(entry)
    assert decode_entry(kind, payload) == entry


@given(entry=ENTRIES)
def test_an_entry_takes_the_bytes_that_the_accounts_say(entry: Entry) -> None:
    taken = RECORD_HEADER_BYTES + len(encode_entry(entry)[1])
    match entry:
        case ManifestEntry():
            assert manifest_record_bytes(entry.encoded) == taken
        case PageEntry():
            assert page_record_bytes(entry.encoded) == taken
        case VersionEntry():
            assert version_record_bytes(entry.version) == taken
        case DropEntry():
            assert drop_record_bytes(entry) == taken
        case BucketEntry():
            assert bucket_record_bytes(entry.bucket) == taken
        case CommitEntry():
            assert taken == RECORD_HEADER_BYTES + 13


SOME: list[Entry] = [
    ManifestEntry(LSN, 258, b""),
    PageEntry(LSN, 258, 3, b""),
    VersionEntry(LSN, replace(VERSION, content_type="")),
    VersionEntry(LSN, MARKER),
    DropEntry(LSN, 258, BucketName("photos"), ObjectId("a"), VERSION.version),
    BucketEntry(LSN, BUCKET, False),
    CommitEntry(LSN, 258),
]


@pytest.mark.parametrize("entry", SOME, ids=lambda entry: type(entry).__name__)
def test_an_entry_of_another_format_is_refused(entry: Entry) -> None:
    kind, payload = encode_entry(entry)
    for fmt in (0, 2, 255):
        with pytest.raises(Corrupt, match=f"format {fmt}"):
            decode_entry(kind, bytes([fmt]) + payload[1:])


@pytest.mark.parametrize("entry", SOME, ids=lambda entry: type(entry).__name__)
def test_an_entry_cut_short_is_refused(entry: Entry) -> None:
    kind, payload = encode_entry(entry)
    names = len(BUCKET.name) if isinstance(entry, BucketEntry) else 0
    for length in range(len(payload) - names):
        with pytest.raises(Corrupt):
            decode_entry(kind, payload[:length])


@given(kind=st.sampled_from(range(256)), payload=st.binary(max_size=200))
def test_bytes_that_are_no_entry_are_refused_or_decode_to_one(kind: int, payload: bytes) -> None:
    """Nothing but `Corrupt` comes of them."""
    try:
        entry = decode_entry(kind, b"\x01" + payload)
    except Corrupt:
        return
    assert encode_entry(entry)[0] == kind


def test_a_chunk_is_no_entry() -> None:
    with pytest.raises(Corrupt, match="no entry"):
        decode_entry(record.KIND_CHUNK, encode_entry(CommitEntry(1, 1))[1])


def test_a_bucket_in_a_state_of_a_later_release_is_refused() -> None:
    kind, payload = encode_entry(BucketEntry(LSN, BUCKET, False))
    with pytest.raises(Corrupt):
        decode_entry(kind, payload[:10] + b"\x03" + payload[11:])
