"""Why a chunk is kept: the way back from it to the versions that refer to it.

References lead from a chunk to the numbers of manifests, and no index leads on from a number to its manifest, or
from a manifest to the names of its versions: nothing else needs them, and they would cost every commit two rows.
So this reads the families of manifests and versions from end to end, about a second for a million objects.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from replicator.data_plane.ports import Version
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.catalog import Catalog
from replicator.data_plane.storage.parts import StoreParts
from replicator.data_plane.upkeep import Explanation, Referrer
from replicator.kernel.digest import DIGEST_BYTES, Digest


def explain(parts: StoreParts, digest: Digest, *, limit: int) -> Explanation:
    """See `Upkeep.explain`."""
    catalog = parts.catalog
    location = parts.chunks.find([digest])[digest]
    numbers = _numbers(catalog, digest)
    staged = sum(catalog.get("meta", rows.staged_key(number)) is not None for number in numbers)
    manifests, retiring = _manifests(catalog, numbers)
    holds = [
        hold.purpose
        for hold in parts.chunks.holds()
        if digest in hold.chunks or not manifests.isdisjoint(hold.manifests)
    ]
    return Explanation(
        digest=digest,
        segment=location.segment if location else None,
        offset=location.offset if location else None,
        stored_bytes=location.stored_length if location else None,
        raw_bytes=location.raw_length if location else None,
        damaged=digest in parts.chunks.damaged,
        references=len(numbers),
        staged=staged,
        retiring=retiring,
        referrers=list(islice(_referrers(catalog, manifests), limit)),
        holds=holds,
    )


def _numbers(catalog: Catalog, digest: Digest) -> set[int]:
    keys = (key for key, _ in catalog.scan("chunks", digest))
    return {rows.chunk_ref_number(key) for key in keys if not rows.is_chunk_key(key)}


def _manifests(catalog: Catalog, numbers: Collection[int]) -> tuple[set[Digest], int]:
    """The manifests of those numbers, and how many of them are retiring."""
    found: set[Digest] = set()
    retiring = 0
    if not numbers:
        return found, retiring
    for key, row in catalog.scan("manifests", b""):
        if len(key) != DIGEST_BYTES:
            continue
        number, retired_ms = rows.manifest_row_head(row)
        if number in numbers:
            found.add(Digest(key))
            retiring += retired_ms != 0
    return found, retiring


def _referrers(catalog: Catalog, manifests: Collection[Digest]) -> Iterator[Referrer]:
    if not manifests:
        return
    for key, row in catalog.scan("versions", b""):
        version = rows.decode_version(key, row)
        if isinstance(version, Version) and version.manifest in manifests:
            yield Referrer(version.bucket, version.object_id, version.version)
