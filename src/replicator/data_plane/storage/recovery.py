"""Opening a store: make catalog and segments agree, or refuse and say what is wrong.

The catalog knows how much of each segment was durable when it was last written. Behind that mark lies what
was appended but not committed when the process died. Whole records there become known chunks, so an upload
or pull that is tried again does not bring them twice; from the first record that is not whole the file is cut
off. A segment that is missing, or shorter than its mark, means that acknowledged bytes are gone; one that
begins with another header than its own is not the one the catalog means. In both cases the store does not
open, and every file stays as it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from replicator.data_plane.storage import files, rows
from replicator.data_plane.storage.catalog import Batch, Catalog
from replicator.data_plane.storage.record import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    STORE_ID_BYTES,
    check_record,
    decode_record_header,
)
from replicator.data_plane.storage.rows import Location
from replicator.data_plane.storage.segment import Segments
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt

RECORD_BYTES_MAX = 16 * 1024 * 1024
_ROWS_PER_BATCH = 4096


@dataclass(slots=True)
class Recovered:
    """What opening found behind the durable marks."""

    chunks: int = 0
    bytes_cut: int = 0


def open_store_id(folder: str, catalog: Catalog) -> bytes:
    """The id of the store, made at its first opening.

    Raises:
        Corrupt: the catalog is empty although there are segments.
    """
    known = catalog.get("meta", rows.STORE_KEY)
    if known is not None:
        return rows.decode_store_row(known)
    if os.listdir(folder):
        raise _catalog_lost(folder)
    store_id = os.urandom(STORE_ID_BYTES)
    batch = Batch()
    batch.put("meta", rows.STORE_KEY, rows.encode_store_row(store_id))
    catalog.write(batch)
    return store_id


def recover(segments: Segments, catalog: Catalog) -> Recovered:
    """Bring catalog and segments to agree.

    Raises:
        Corrupt: they cannot; nothing was changed.
    """
    durable = {
        rows.segment_number(key): rows.decode_number(row)
        for key, row in catalog.scan("meta", rows.SEGMENT_PREFIX)
    }
    _require_durable(segments, durable)
    found = Recovered()
    for number in segments.numbers:
        if _was_never_begun(segments, number, durable):
            found.bytes_cut += segments.length(number)
            segments.remove(number)
        elif segments.length(number) > durable.get(number, 0):
            _recover_tail(segments, catalog, number, durable.get(number, SEGMENT_HEADER_BYTES), found)
    return found


def _require_durable(segments: Segments, durable: dict[int, int]) -> None:
    present = set(segments.numbers)
    for number, mark in durable.items():
        if number not in present:
            raise Corrupt(f"segment {number} is missing; the store does not open without it", segment=number)
        if (length := segments.length(number)) < mark:
            raise Corrupt(
                f"segment {number} has {length} bytes, but {mark} were acknowledged; "
                "the store does not open: restore the file",
                segment=number,
            )
    for number in present:
        if not _was_never_begun(segments, number, durable):
            segments.check_header(number)


def _was_never_begun(segments: Segments, number: int, durable: dict[int, int]) -> bool:
    """Whether the machine died before the header was on disk: then no record can have been committed."""
    return number not in durable and segments.is_blank(number)


def _recover_tail(segments: Segments, catalog: Catalog, number: int, end: int, found: Recovered) -> None:
    while records := _whole_records(segments, number, end):
        end = records[-1][1].offset + RECORD_HEADER_BYTES + records[-1][1].length
        found.chunks += _index(segments, catalog, number, end, records)
    found.bytes_cut += segments.length(number) - end
    segments.truncate(number, end)


def _whole_records(segments: Segments, number: int, offset: int) -> list[tuple[Digest, Location]]:
    records: list[tuple[Digest, Location]] = []
    while len(records) < _ROWS_PER_BATCH:
        head = segments.read_raw(number, offset, RECORD_HEADER_BYTES)
        if len(head) < RECORD_HEADER_BYTES:
            break
        try:
            header = decode_record_header(head)
            if header.stored_length > RECORD_BYTES_MAX:
                break
            payload = segments.read_raw(number, offset + RECORD_HEADER_BYTES, header.stored_length)
            check_record(memoryview(head), payload, header.digest)
        except Corrupt:
            break
        records.append((header.digest, Location(number, offset, header.stored_length)))
        offset += RECORD_HEADER_BYTES + header.stored_length
    return records


def _index(
    segments: Segments, catalog: Catalog, number: int, end: int, records: list[tuple[Digest, Location]]
) -> int:
    segments.sync([number])
    known = catalog.get_many("chunks", [digest for digest, _ in records])
    batch = Batch()
    for (digest, location), row in zip(records, known, strict=True):
        if row is None:
            batch.put("chunks", digest, rows.encode_location(location))
    batch.put("meta", rows.segment_key(number), rows.encode_number(end))
    catalog.write(batch)
    return sum(row is None for row in known)


def make_folders(path: str) -> tuple[str, str]:
    """(segments, catalog): the folders inside the data folder, made durably where they are missing.

    Raises:
        Corrupt: there are segments, but no catalog.
    """
    segments, catalog = os.path.join(path, "segments"), os.path.join(path, "catalog")
    if os.path.isdir(segments) and os.listdir(segments) and not os.path.isdir(catalog):
        raise _catalog_lost(segments)
    for folder in (segments, catalog):
        files.make_folder(folder)
    # A process that died may have made names here that it did not live to sync.
    for folder in (path, segments):
        files.sync_folder(folder)
    return segments, catalog


def _catalog_lost(folder: str) -> Corrupt:
    return Corrupt(
        f"there are segments in '{folder}' but the catalog knows nothing of them; nothing was changed. "
        "Put the catalog that belongs to them back"
    )
