"""A store of format 1 becomes one of format 2: the catalog's manifests, pages and versions enter the log.

In format 1 the log held chunks alone. Each row that is still of format 1 is written to the log as an entry and
then again as a row of format 2, in batches that are durable before the next begins; so a process that dies in
the middle is followed by one that goes on. What that one finds in the log behind the mark of the catalog is of
a batch whose rows are still of format 1: recovery cuts it off. Chunks, references and segments stay as they are.

Format 1 kept manifests that no version referred to any more; they begin to retire now.
"""

from __future__ import annotations

from collections.abc import Iterator

from replicator.data_plane.ports import Version
from replicator.data_plane.storage import format1, rows
from replicator.data_plane.storage.accounts import Accounts
from replicator.data_plane.storage.catalog import Batch, Catalog
from replicator.data_plane.storage.committer import Counters
from replicator.data_plane.storage.entries import (
    CommitEntry,
    Entry,
    ManifestEntry,
    PageEntry,
    VersionEntry,
    encode_entry,
)
from replicator.data_plane.storage.record import RECORD_HEADER_BYTES, encode_record_header
from replicator.data_plane.storage.recount import recount
from replicator.data_plane.storage.rows import ManifestRow, PageRow, Place
from replicator.data_plane.storage.segment import Segments
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.manifest import decode_manifest

_ENTRIES_PER_BATCH = 1024
_BATCH_BYTES = 16 * 1024 * 1024


def migrate(
    segments: Segments,
    catalog: Catalog,
    accounts: Accounts,
    counters: Counters,
    *,
    store_id: bytes,
    now_ms: int,
) -> None:
    """Bring the store to format 2. Raises `QuotaExceeded`, `StoreFailed`, `Corrupt`; it can be tried again.

    Args:
        now_ms: since the Unix epoch; when manifests without a version begin to retire.
    """
    segments.roll()
    for entries in _batches(_entries(catalog, counters)):
        _write(segments, catalog, counters, entries, now_ms=now_ms)
    batch = Batch()
    counted = recount(catalog)
    for number in segments.numbers:
        absorbed = segments.length(number)
        batch.put("meta", rows.segment_key(number), rows.encode_segment_row(absorbed, counted.live[number]))
        accounts.absorbed[number], accounts.live[number] = absorbed, counted.live[number]
    batch.put("meta", rows.STORE_KEY, rows.encode_store_row(store_id))
    catalog.write(batch)
    catalog.sync()


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    some: list[Entry] = []
    some_bytes = 0
    for entry in entries:
        some.append(entry)
        some_bytes += len(entry.encoded) if isinstance(entry, ManifestEntry | PageEntry) else 0
        if len(some) >= _ENTRIES_PER_BATCH or some_bytes >= _BATCH_BYTES:
            yield some
            some, some_bytes = [], 0
    if some:
        yield some


def _entries(catalog: Catalog, counters: Counters) -> Iterator[Entry]:
    """What the rows of format 1 come to; pages before the manifests that own them."""
    for key, row in catalog.scan("pages", b""):
        if format1.is_page_row(row):
            yield PageEntry(_next(counters), *rows.decode_page_key(key), row)
    for key, row in catalog.scan("manifests", b""):
        if len(key) == DIGEST_BYTES and (found := format1.decode_manifest_row(row, Digest(key))) is not None:
            yield ManifestEntry(_next(counters), found[0], found[1].encoded)
    for key, row in catalog.scan("versions", b""):
        version = format1.decode_version(key, row)
        if version is not None:
            yield VersionEntry(_next(counters), version)


def _next(counters: Counters) -> int:
    counters.lsn += 1
    return counters.lsn


def _write(
    segments: Segments, catalog: Catalog, counters: Counters, entries: list[Entry], *, now_ms: int
) -> None:
    """One write to one segment, so that only the last segment can end in a batch that does not count."""
    batch = Batch()
    buffers: list[bytes] = []
    start, length = segments.begin(), 0
    for entry in [*entries, CommitEntry(_next(counters), len(entries))]:
        kind, payload = encode_entry(entry)
        place = start._replace(offset=start.offset + length)
        if isinstance(entry, ManifestEntry):
            retired_ms = 0 if _is_referred_to(catalog, Digest.of(entry.encoded)) else now_ms
            _put_manifest(batch, entry, place, retired_ms=retired_ms)
        else:
            _put_rows(batch, entry, place)
        buffers += (encode_record_header(Digest.of(payload), payload, kind=kind), payload)
        length += RECORD_HEADER_BYTES + len(payload)
    segments.write(buffers, length)
    for number, end in segments.take_ends().items():
        segments.sync(number)
        batch.put("meta", rows.segment_key(number), rows.encode_segment_row(end, 0))
    counters.put_row(batch)
    catalog.write(batch)
    catalog.sync()


def _is_referred_to(catalog: Catalog, manifest: Digest) -> bool:
    [key] = catalog.following("manifests", [manifest])
    return key is not None and key.startswith(manifest)


def _put_manifest(batch: Batch, entry: ManifestEntry, place: Place, *, retired_ms: int) -> None:
    manifest = decode_manifest(entry.encoded)
    row = ManifestRow(entry.number, place, retired_ms, manifest)
    batch.put("manifests", manifest.digest, rows.encode_manifest_row(row))
    if retired_ms:
        key = rows.retiring_key(retired_ms, manifest.digest)
        batch.put("meta", key, rows.encode_number(manifest.size))


def _put_rows(batch: Batch, entry: Entry, place: Place) -> None:
    match entry:
        case PageEntry():
            key = rows.page_key(entry.number, entry.page)
            batch.put("pages", key, rows.encode_page_row(PageRow(place, entry.encoded)))
        case VersionEntry(_, Version() as version):
            object_key = rows.object_prefix(version.bucket, version.object_id)
            row_ = rows.encode_version_row(version, place)
            batch.put("versions", rows.version_key(version.bucket, version.object_id, version.version), row_)
            batch.put("heads", object_key, version.version + row_)
            batch.put("nulls", object_key, version.version)
        case _:
            pass
