"""Which records of the log the catalog names, and whether what they hold is what they say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from replicator.data_plane.storage import rows
from replicator.data_plane.storage.catalog import Catalog, Family
from replicator.data_plane.storage.codec import decode
from replicator.data_plane.storage.entries import (
    BucketEntry,
    Entry,
    ManifestEntry,
    PageEntry,
    VersionEntry,
    decode_entry,
)
from replicator.data_plane.storage.record import CODEC_NONE, KIND_CHUNK
from replicator.data_plane.storage.rows import Place
from replicator.data_plane.storage.walk import Record
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import Corrupt

Named = tuple[Family, bytes]
"""The row that is about a record: its family and key."""

FAMILIES_OF_RECORDS: tuple[Family, ...] = ("chunks", "manifests", "pages", "versions", "buckets")


def prove(record: Record) -> None:
    """Raises `Corrupt` unless the raw bytes of a record have the digest that its header gives."""
    header, raw = record.header, record.payload
    if header.codec != CODEC_NONE:
        raw = memoryview(bytearray(header.raw_length))
        decode(record.payload, codec=header.codec, digest=header.digest, into=raw)
    if Digest.of(raw) != header.digest:
        raise Corrupt("a record does not hold the bytes that its digest names", digest=str(header.digest))


def row_of(record: Record) -> Named | None:
    """The row that is about what a record says; None for drops and commit marks. Raises `Corrupt`."""
    if record.header.kind == KIND_CHUNK:
        return "chunks", record.header.digest
    return _row_of_entry(decode_entry(record.header.kind, bytes(record.payload)))


def standing(catalog: Catalog, records: Sequence[tuple[Named, Place]]) -> list[bool]:
    """For each record, given by the row that is about it, whether the catalog names it at its place."""
    keys: defaultdict[Family, list[bytes]] = defaultdict(list)
    for (family, key), _ in records:
        keys[family].append(key)
    found: dict[Named, bytes | None] = {}
    for family, some in keys.items():
        found |= {(family, key): row for key, row in zip(some, catalog.get_many(family, some), strict=True)}
    return [
        (row := found[named]) is not None and place_in(named[0], named[1], row) == place
        for named, place in records
    ]


def place_in(family: Family, key: bytes, row: bytes) -> Place:
    """Where the record is that a row names."""
    match family:
        case "chunks":
            return Place(*rows.decode_location(row)[:2])
        case "manifests":
            return rows.manifest_row_place(row)
        case "pages":
            return rows.decode_page_row(row).place
        case "versions":
            return rows.version_place(row)
        case "buckets":
            return rows.decode_bucket_row(key, row).place
        case _:
            raise AssertionError(f"no records are named by the family {family}")


def named_rows(catalog: Catalog, family: Family) -> Iterator[tuple[bytes, bytes]]:
    """The rows of a family that name a record, in order; references are left out."""
    has_references = family in ("chunks", "manifests")
    for key, row in catalog.scan(family, b""):
        if not has_references or len(key) == DIGEST_BYTES:
            yield key, row


def _row_of_entry(entry: Entry) -> Named | None:
    match entry:
        case ManifestEntry():
            return "manifests", Digest.of(entry.encoded)
        case PageEntry():
            return "pages", rows.page_key(entry.number, entry.page)
        case VersionEntry(_, version):
            return "versions", rows.version_key(version.bucket, version.object_id, version.version)
        case BucketEntry():
            return "buckets", entry.bucket.name.encode()
        case _:
            return None
