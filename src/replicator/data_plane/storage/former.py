"""What the catalog that a rebuilding replaces knows, and the log no longer tells.

A segment that is missing, or that ends early, takes entries with it that nothing else in the log speaks of. The
former catalog has the length of every segment, and the names of all versions.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from replicator.data_plane.storage import rows
from replicator.data_plane.storage.accounts import Accounts
from replicator.data_plane.storage.catalog import Catalog
from replicator.data_plane.storage.findings import (
    OnFinding,
    about_version,
    missing_segment,
    short_segment,
)
from replicator.data_plane.storage.refill import Refill
from replicator.data_plane.storage.segment import Segments
from replicator.kernel.errors import Corrupt

_ROWS_PER_LOOK = 1024


def compare(
    former: Catalog, catalog: Catalog, refill: Refill, segments: Segments, on_finding: OnFinding
) -> bool:
    """Tell of segments and versions that are lost; counts the versions. False where `former` cannot be read."""
    try:
        store_row = former.get("meta", rows.STORE_KEY)
        if store_row is None or rows.decode_store_row(store_row)[0] != rows.STORE_FORMAT:
            return False
        for number, known in sorted(Accounts.load(former).absorbed.items()):
            if not segments.holds(number):
                on_finding(missing_segment(number))
            elif segments.length(number) < known:
                on_finding(short_segment(number, length=segments.length(number), known=known))
        for key, row in _gone(former, catalog):
            if not refill.knows_end_of(key):
                refill.done.lost += 1
                on_finding(
                    about_version(
                        "lost-version",
                        rows.decode_version(key, row),
                        "is lost: the former catalog has it, and nothing of it is in the segments",
                    )
                )
    except Corrupt:
        return False
    return True


def _gone(former: Catalog, catalog: Catalog) -> Iterator[tuple[bytes, bytes]]:
    """The rows of versions that only `former` has."""
    found = former.scan("versions", b"")
    while some := list(islice(found, _ROWS_PER_LOOK)):
        known = catalog.get_many("versions", [key for key, _ in some])
        yield from (each for each, row in zip(some, known, strict=True) if row is None)
