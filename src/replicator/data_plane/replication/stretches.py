"""Cutting a stretch off a scan, and naming it by its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from replicator.data_plane.ports import Scanned
from replicator.data_plane.replication.ports import Entry
from replicator.kernel.digest import Digest
from replicator.kernel.errors import TooLarge
from replicator.kernel.merkle import encode_entry
from replicator.kernel.names import ObjectId
from replicator.kernel.version import VersionId
from replicator.wire.replication import LIST_ENTRIES_MAX, LIST_KEYS_MAX


class Cut(NamedTuple):
    """What was cut off; the fields are those of `replication.ports.Listing`."""

    entries: list[Entry]
    digest: Digest
    total: int
    last: str
    more: bool


def cut_stretch(scanned: Iterable[Scanned], *, limit: int, digest_only: bool) -> Cut:
    """The first `limit` keys of a scan; fewer where they have more versions than that.

    Delete markers are passed over, but not without end: what was looked at counts like what was found. So `last`
    may be a key of which nothing is listed.

    Raises:
        TooLarge: one object has more versions than an answer may list.
    """
    digest = hashlib.sha256()
    entries: list[Entry] = []
    keys = looked_at = total = 0
    last = ""
    for object_id, version, manifest, size in scanned:
        if object_id != last:
            if keys == limit or looked_at >= LIST_KEYS_MAX:
                return Cut(entries, Digest(digest.digest()), total, last, more=True)
            keys += 1
            last = object_id
        looked_at += 1
        if not manifest:
            continue
        total += 1
        digest.update(encode_entry(object_id, version, manifest))
        if not digest_only:
            if len(entries) >= LIST_ENTRIES_MAX:
                raise TooLarge(
                    f"'{object_id}' has too many versions to list them all at once: remove some",
                    object_id=object_id,
                )
            entries.append(Entry(ObjectId(object_id), VersionId(version), Digest(manifest), size))
    return Cut(entries, Digest(digest.digest()), total, last, more=False)
