"""Whether a closed store agrees with itself: every row of the catalog with the others, and with the log.

No record and no row is changed. References are compared both ways: what ought to be there is written to a scratch catalog,
`check.scratch` in the data folder, and read back in the order in which the catalog has it. So memory is bounded
by settings, whatever the store holds, and the disk needs about as much room as the catalog takes.

Not told apart: damage, and a mistake of this program. Either is a finding.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from replicator.data_plane.ports import DeleteMarker, Version
from replicator.data_plane.storage import files, rows
from replicator.data_plane.storage.accounts import Accounts
from replicator.data_plane.storage.backup import refuse_backup
from replicator.data_plane.storage.catalog import Batch, Catalog, Family
from replicator.data_plane.storage.check_log import LogCheck
from replicator.data_plane.storage.findings import (
    Finding,
    OnFinding,
    about_version,
    missing_segment,
    short_segment,
    unreadable,
)
from replicator.data_plane.storage.record import SEGMENT_HEADER_BYTES, STORE_ID_BYTES
from replicator.data_plane.storage.recount import recount
from replicator.data_plane.storage.rows import ManifestRow
from replicator.data_plane.storage.segment import Segments
from replicator.data_plane.storage.standing import FAMILIES_OF_RECORDS, named_rows, place_in
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import Corrupt, InvalidRequest, Unavailable
from replicator.kernel.manifest import ChunkRef, decode_detached_page
from replicator.kernel.names import DEFAULT_BUCKET

_OPERATIONS_PER_BATCH = 8192
_SCRATCH = "check.scratch"
T = TypeVar("T")


@dataclass(slots=True)
class Checked:
    """What a check went through.

    Attributes:
        unabsorbed_bytes: at the end of the log, that the catalog does not know yet; the next start takes them in.
        records, record_bytes: that were read, where the data was.
        spent_regions: damaged places in which nothing is in use any more.
    """

    findings: int = 0
    segments: int = 0
    versions: int = 0
    manifests: int = 0
    chunks: int = 0
    unabsorbed_bytes: int = 0
    records: int = 0
    record_bytes: int = 0
    spent_regions: int = 0


def check_store(
    path: str,
    *,
    open_catalog: Callable[[str], Catalog],
    read_catalog: Callable[[str], Catalog] | None = None,
    on_finding: OnFinding,
    read_data: bool = False,
) -> Checked:
    """Check the closed store in `path`.

    Args:
        read_catalog: opens the catalog of the store without changing it; as `open_catalog` does where it is None.
        read_data: also read every record, and hold it against its checksum and its digest.

    Raises:
        Conflict: a process has the store open.
        InvalidRequest: `path` is no data folder, or a backup, or a store of another format.
    """
    done = Checked()

    def tell(finding: Finding) -> None:
        done.findings += 1
        on_finding(finding)

    refuse_backup(path)
    segments_folder, catalog_folder = os.path.join(path, "segments"), os.path.join(path, "catalog")
    if not os.path.isdir(segments_folder):
        raise InvalidRequest(f"'{path}' holds no segments: it is not the data folder of a node", path=path)
    scratch_folder = os.path.join(path, _SCRATCH)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, files.lock_folder(path))
        stack.callback(shutil.rmtree, scratch_folder, ignore_errors=True)
        shutil.rmtree(scratch_folder, ignore_errors=True)
        try:
            if not os.path.isdir(catalog_folder):
                raise Corrupt("there is no catalog")
            catalog = (read_catalog or open_catalog)(catalog_folder)
            stack.callback(catalog.close)
            store_id = _store_id(catalog)
        except (Corrupt, Unavailable) as error:
            tell(Finding("catalog", error.message, {"path": path}))
            return done
        segments = Segments(segments_folder, store_id=store_id, segment_bytes_max=1, reserve_bytes=0)
        stack.callback(segments.close)
        scratch = open_catalog(scratch_folder)
        stack.callback(scratch.close)
        check = _Check(segments, catalog, scratch, tell, done)
        check.run()
        if read_data:
            LogCheck(segments, catalog, tell, done).run()
    return done


def _store_id(catalog: Catalog) -> bytes:
    row = catalog.get("meta", rows.STORE_KEY)
    if row is None:
        raise Corrupt("the catalog does not say which store it is of")
    fmt, store_id = rows.decode_store_row(row)
    if fmt != rows.STORE_FORMAT or len(store_id) != STORE_ID_BYTES:
        raise InvalidRequest(f"the store has format {fmt}: start the node once, which brings it up to date")
    return store_id


class _Check:
    def __init__(
        self, segments: Segments, catalog: Catalog, scratch: Catalog, tell: OnFinding, done: Checked
    ) -> None:
        self._segments = segments
        self._catalog = catalog
        self._scratch = scratch
        self._tell = tell
        self._done = done
        self._batch = Batch()
        self._absorbed: dict[int, int] = {}

    def run(self) -> None:
        self._check_segments()
        self._check_places()
        self._check_versions()
        self._check_newest()
        self._check_manifests()
        self._check_pages()
        self._check_chunks()
        self._check_accounts()
        for key, _ in self._catalog.scan("meta", rows.DAMAGED_PREFIX):
            digest = str(rows.damaged_digest(key))
            self._tell(Finding("damaged-chunk", f"chunk {digest} is known to be damaged", {"digest": digest}))

    def _check_segments(self) -> None:
        self._absorbed = dict(Accounts.load(self._catalog).absorbed)
        for number, absorbed in self._absorbed.items():
            if not self._segments.holds(number):
                self._tell(missing_segment(number))
                continue
            length = self._segments.length(number)
            self._done.segments += 1
            if length < absorbed:
                self._tell(short_segment(number, length=length, known=absorbed))
            try:
                self._segments.check_header(number)
            except Corrupt as error:
                self._tell(Finding("damaged-header", error.message, {"segment": number}))
        for number in self._segments.numbers:
            known = self._absorbed.get(number, SEGMENT_HEADER_BYTES)
            self._done.unabsorbed_bytes += max(0, self._segments.length(number) - known)

    def _check_places(self) -> None:
        for family in FAMILIES_OF_RECORDS:
            for key, row in named_rows(self._catalog, family):
                place = self._read(family, key, place_in, family, key, row)
                if place is not None and place.offset >= self._absorbed.get(place.segment, 0):
                    self._say(
                        family,
                        key,
                        f"names byte {place.offset} of segment {place.segment}, which is not there",
                    )

    def _check_versions(self) -> None:
        """Every version has its bucket; what it refers to is noted."""
        for key, row in self._catalog.scan("versions", b""):
            version = self._read("versions", key, rows.decode_version, key, row)
            if version is None:
                continue
            self._done.versions += 1
            if version.bucket != DEFAULT_BUCKET and not self._has_bucket(version):
                self._tell(about_version("missing-bucket", version, "is in a bucket that does not exist"))
            if isinstance(version, Version):
                self._expect("manifests", rows.manifest_ref_key(version.manifest, version.version))
        self._flush()

    def _has_bucket(self, version: Version | DeleteMarker) -> bool:
        key = version.bucket.encode()
        row = self._catalog.get("buckets", key)
        return row is not None and not rows.decode_bucket_row(key, row).removed

    def _check_newest(self) -> None:
        """Heads and null versions are those of the versions."""
        found: tuple[tuple[Family, Iterator[tuple[bytes, bytes]]], ...]
        found = (("heads", self._heads()), ("nulls", self._nulls()))
        for family, expected in found:
            for (key, _), missing in _differences(expected, self._catalog.scan(family, b"")):
                self._say(family, key, "is missing or another" if missing else "is not as its versions say")

    def _heads(self) -> Iterator[tuple[bytes, bytes]]:
        for key, versions in self._objects():
            version, row = versions[0]
            if isinstance(version, Version):
                yield key, version.version + row

    def _nulls(self) -> Iterator[tuple[bytes, bytes]]:
        for key, versions in self._objects():
            yield from ((key, bytes(version.version)) for version, _ in versions if version.null)

    def _objects(self) -> Iterator[tuple[bytes, list[tuple[Version | DeleteMarker, bytes]]]]:
        """(object key, versions newest first that matter: the first one, and null ones)."""
        decoded = (
            (rows.decode_version(key, row), row)
            for key, row in self._catalog.scan("versions", b"")
            if row[0] == 2
        )
        for names, group in groupby(decoded, key=lambda each: (each[0].bucket, each[0].object_id)):
            yield (
                rows.object_prefix(*names),
                [each for index, each in enumerate(group) if not index or each[0].null],
            )

    def _check_manifests(self) -> None:
        """Every manifest decodes; the references to it are those of versions; it is retired without any."""
        references = (key for key, _ in self._catalog.scan("manifests", b"") if len(key) != DIGEST_BYTES)
        for key, missing in _differences(
            (key for key, _ in self._scratch.scan("manifests", b"")), references
        ):
            what = "is missing" if missing else "is of no version"
            self._say("manifests", key, f"a reference to manifest {key[:DIGEST_BYTES].hex()} {what}")
        for digest, row, count in _with_references(self._catalog.scan("manifests", b"")):
            if row is None:
                self._say(
                    "manifests",
                    digest,
                    f"manifest {digest.hex()} is missing, and {count} versions refer to it",
                )
                continue
            manifest = self._read("manifests", digest, rows.decode_manifest_row, row, Digest(digest))
            if manifest is not None:
                self._check_manifest(Digest(digest), manifest, count)
        self._flush()

    def _check_manifest(self, digest: Digest, row: ManifestRow, references: int) -> None:
        self._done.manifests += 1
        if bool(row.retired_ms) == bool(references):
            self._say("manifests", digest, f"manifest {digest} is marked otherwise than its references say")
        if row.retired_ms and self._catalog.get("meta", rows.retiring_key(row.retired_ms, digest)) is None:
            self._say("manifests", digest, f"manifest {digest} would never be collected: its mark is missing")
        self._expect_chunks(row.manifest.entries, row.number)
        for index, page in enumerate(row.manifest.pages):
            self._expect("pages", rows.page_key(row.number, index), page.digest)

    def _check_pages(self) -> None:
        """Every page is that of its manifest, or staged."""
        for key, row in self._catalog.scan("pages", b""):
            page = self._read("pages", key, rows.decode_page_row, row)
            number, index = rows.decode_page_key(key)
            expected = self._scratch.get("pages", key)
            if expected is None and self._catalog.get("meta", rows.staged_key(number)) is None:
                self._say("pages", key, f"page {index} of manifest number {number} belongs to no manifest")
            if page is None:
                continue
            if expected is not None and Digest.of(page.encoded) != expected:
                self._say(
                    "pages",
                    key,
                    f"page {index} of manifest number {number} is not the one its manifest names",
                )
                continue
            self._expect_chunks(decode_detached_page(page.encoded), number)
        self._flush()
        pages = (key for key, _ in self._catalog.scan("pages", b""))
        for key, missing in _differences((key for key, _ in self._scratch.scan("pages", b"")), pages):
            if missing:
                number, index = rows.decode_page_key(key)
                self._say("pages", key, f"page {index} of manifest number {number} is missing")

    def _check_chunks(self) -> None:
        """The references to chunks are those of manifests and pages, and every chunk has a place."""
        references = (key for key, _ in self._catalog.scan("chunks", b"") if not rows.is_chunk_key(key))
        for key, missing in _differences((key for key, _ in self._scratch.scan("chunks", b"")), references):
            what = "is missing" if missing else "is of no manifest"
            self._say("chunks", key, f"a reference to chunk {key[:DIGEST_BYTES].hex()} {what}")
        for digest, row, count in _with_references(self._catalog.scan("chunks", b"")):
            self._done.chunks += row is not None
            if row is None:
                self._say(
                    "chunks", digest, f"chunk {digest.hex()} is missing, and {count} manifests refer to it"
                )

    def _check_accounts(self) -> None:
        accounts = Accounts.load(self._catalog)
        try:
            counted = recount(self._catalog).live
        except Corrupt:
            return  # told of the row already
        for number in sorted({*accounts.live, *counted}):
            expected = counted.get(number, 0) + accounts.drops_within(number)
            if (kept := accounts.live.get(number, 0)) != expected:
                message = f"{expected} bytes of segment {number} are alive, but the accounts say {kept}"
                self._tell(
                    Finding("accounts", message, {"segment": number, "counted": expected, "kept": kept})
                )

    def _expect_chunks(self, refs: Iterable[ChunkRef], number: int) -> None:
        for ref in refs:
            self._expect("chunks", rows.chunk_ref_key(ref.digest, number))

    def _expect(self, family: Family, key: bytes, row: bytes = b"") -> None:
        self._batch.put(family, key, row)
        if len(self._batch.operations) >= _OPERATIONS_PER_BATCH:
            self._flush()

    def _flush(self) -> None:
        self._scratch.write(self._batch)
        self._batch = Batch()

    def _read(self, family: Family, key: bytes, decode: Callable[..., T], *parts: object) -> T | None:
        try:
            return decode(*parts)
        except Corrupt as error:
            self._tell(unreadable(family, key, error))
            return None

    def _say(self, family: Family, key: bytes, message: str) -> None:
        self._tell(Finding(f"catalog-{family}", message, {"family": family, "key": key.hex()}))


def _with_references(
    scan: Iterator[tuple[bytes, bytes]],
) -> Iterator[tuple[bytes, bytes | None, int]]:
    """(digest, its row or None, how many references follow it) of a family that holds both."""
    for digest, group in groupby(scan, key=lambda each: each[0][:DIGEST_BYTES]):
        row, references = None, 0
        for key, value in group:
            if len(key) == DIGEST_BYTES:
                row = value
            else:
                references += 1
        yield digest, row, references


def _differences(expected: Iterator[T], actual: Iterator[T]) -> Iterator[tuple[T, bool]]:
    """What only one of two ordered sequences has, and whether that is the expected one."""
    one, other = next(expected, None), next(actual, None)
    while one is not None or other is not None:
        if one == other:
            one, other = next(expected, None), next(actual, None)
        elif other is None or (one is not None and one < other):  # type: ignore[operator]
            assert one is not None
            yield one, True
            one = next(expected, None)
        else:
            yield other, False
            other = next(actual, None)
