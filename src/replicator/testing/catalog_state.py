"""What the rows of a catalog must come to, whatever led there: held against one another, counted the long way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

from replicator.data_plane.ports import DeleteMarker, Version
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.accounts import Accounts
from replicator.data_plane.storage.catalog import FAMILIES, Catalog, Family
from replicator.data_plane.storage.recount import recount
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.manifest import Manifest, decode_detached_page

K = TypeVar("K")
Rows = dict[tuple[Family, bytes], bytes]


def rows_but_times(catalog: Catalog) -> Rows:
    """Every row; of what is retiring not since when, which nothing but a clock can tell."""
    found: Rows = {("meta", rows.COUNTERS_KEY): rows.encode_counters(0, 0, 0)}
    for family in FAMILIES:
        for key, row in catalog.scan(family, b""):
            found[family, _timeless_key(family, key)] = _timeless_row(family, key, row)
    return found


def _timeless_key(family: Family, key: bytes) -> bytes:
    if family == "meta" and key.startswith(rows.RETIRING_PREFIX):
        return rows.retiring_key(0, rows.decode_retiring_key(key)[1])
    return key


def _timeless_row(family: Family, key: bytes, row: bytes) -> bytes:
    if family == "manifests" and len(key) == DIGEST_BYTES:
        manifest = rows.decode_manifest_row(row, Digest(key))
        return rows.encode_manifest_row(manifest._replace(retired_ms=int(manifest.retired_ms > 0)))
    return row


def require_exact_accounts(catalog: Catalog, accounts: Accounts | None = None) -> None:
    """The accounts in the catalog, and those in memory where they are given, are what its rows come to."""
    kept = Accounts.load(catalog)
    live = recount(catalog).live
    for (_, within), drop_bytes in kept.drops.items():
        live[within] += drop_bytes
    assert _but_zeros(kept.live) == _but_zeros(live)
    if accounts is not None:
        assert accounts.absorbed == kept.absorbed
        assert _but_zeros(accounts.live) == _but_zeros(kept.live)
        assert _but_zeros(accounts.drops) == _but_zeros(kept.drops)


def _but_zeros(counts: Mapping[K, int]) -> dict[K, int]:
    return {key: count for key, count in counts.items() if count}


def require_consistent(catalog: Catalog) -> None:
    """Latest and null versions, references, and the marks of what is staged or retiring fit what is there."""
    versions = [rows.decode_version(key, row) for key, row in catalog.scan("versions", b"")]
    _require_heads_and_nulls(catalog, versions)
    manifests = {
        Digest(key): rows.decode_manifest_row(row, Digest(key))
        for key, row in catalog.scan("manifests", b"")
        if len(key) == DIGEST_BYTES
    }
    references = {key for key, _ in catalog.scan("manifests", b"") if len(key) > DIGEST_BYTES}
    referring = [version for version in versions if isinstance(version, Version)]
    assert references == {rows.manifest_ref_key(each.manifest, each.version) for each in referring}
    referred = {each.manifest for each in referring}
    assert referred <= manifests.keys()
    retiring = {(each.retired_ms, digest) for digest, each in manifests.items() if each.retired_ms}
    assert {digest for _, digest in retiring} == manifests.keys() - referred
    marks = {rows.decode_retiring_key(key) for key, _ in catalog.scan("meta", rows.RETIRING_PREFIX)}
    assert marks == retiring
    _require_chunk_references(catalog, {each.number: each.manifest for each in manifests.values()})


def _require_heads_and_nulls(catalog: Catalog, versions: Sequence[Version | DeleteMarker]) -> None:
    newest: dict[bytes, Version | DeleteMarker] = {}
    for version in versions:
        newest.setdefault(rows.object_prefix(version.bucket, version.object_id), version)
    heads = {key: rows.decode_head(key, row) for key, row in catalog.scan("heads", b"")}
    assert heads == {key: each for key, each in newest.items() if isinstance(each, Version)}
    nulls = [version for version in versions if version.null]
    expected = {rows.object_prefix(each.bucket, each.object_id): each.version for each in nulls}
    assert len(expected) == len(nulls)
    assert dict(catalog.scan("nulls", b"")) == expected


def _require_chunk_references(catalog: Catalog, owners: Mapping[int, Manifest]) -> None:
    expected = {(ref.digest, number) for number, each in owners.items() for ref in each.entries}
    paged = set()
    for key, row in catalog.scan("pages", b""):
        number = rows.decode_page_key(key)[0]
        paged.add(number)
        expected |= {(digest, number) for digest in _digests(rows.decode_page_row(row).encoded)}
    keys = [key for key, _ in catalog.scan("chunks", b"")]
    places = {key for key in keys if rows.is_chunk_key(key)}
    assert {(key[:DIGEST_BYTES], rows.chunk_ref_number(key)) for key in keys if key not in places} == expected
    assert {digest for digest, _ in expected} <= places
    staged = {rows.staged_number(key) for key, _ in catalog.scan("meta", rows.STAGED_PREFIX)}
    assert paged - owners.keys() <= staged
    assert not staged & owners.keys()
    assert {number for number, each in owners.items() if each.pages} <= paged


@lru_cache(maxsize=16)
def _digests(page: bytes) -> frozenset[Digest]:
    return frozenset(ref.digest for ref in decode_detached_page(page))
