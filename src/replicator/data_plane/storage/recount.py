"""The accounts of a catalog, counted from its rows: what `Accounts` must say, found the long way."""

from __future__ import annotations

from replicator.data_plane.storage import rows
from replicator.data_plane.storage.accounts import Accounts
from replicator.data_plane.storage.catalog import Catalog
from replicator.data_plane.storage.entries import (
    bucket_record_bytes,
    manifest_record_bytes,
    page_record_bytes,
    version_record_bytes,
)
from replicator.data_plane.storage.rows import Location
from replicator.kernel.digest import DIGEST_BYTES, Digest


def recount(catalog: Catalog) -> Accounts:
    """Live bytes by segment, of all but drops: they are known to the log alone.

    Raises:
        Corrupt: a row does not decode.
    """
    accounts = Accounts()
    _count_chunks(catalog, accounts)
    for key, row in catalog.scan("manifests", b""):
        if len(key) == DIGEST_BYTES:
            manifest = rows.decode_manifest_row(row, Digest(key))
            accounts.live[manifest.place.segment] += manifest_record_bytes(manifest.manifest.encoded)
    for _, row in catalog.scan("pages", b""):
        page = rows.decode_page_row(row)
        accounts.live[page.place.segment] += page_record_bytes(page.encoded)
    for key, row in catalog.scan("versions", b""):
        place = rows.version_place(row)
        accounts.live[place.segment] += version_record_bytes(rows.decode_version(key, row))
    for key, row in catalog.scan("buckets", b""):
        bucket = rows.decode_bucket_row(key, row)
        accounts.live[bucket.place.segment] += bucket_record_bytes(bucket.bucket)
    return accounts


def _count_chunks(catalog: Catalog, accounts: Accounts) -> None:
    location: Location | None = None
    digest, counted = b"", False
    for key, row in catalog.scan("chunks", b""):
        if rows.is_chunk_key(key):
            digest, location, counted = key, rows.decode_location(row), False
        elif location is not None and not counted and key.startswith(digest):
            accounts.live[location.segment] += location.record_bytes
            counted = True
