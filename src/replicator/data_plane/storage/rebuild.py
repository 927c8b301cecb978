"""A catalog made anew from the segments alone, for a store whose catalog is lost or not to be trusted.

The whole log is gathered first (see `gather`). Then every version that stands is put into the new catalog behind
its bucket, manifest and pages, by the same `Index` that commits go through. What is missing is reported by
name: a version without its manifest, its pages or a chunk does not come back. A chunk of which only a damaged
record is left comes back as damaged, so that the next good copy takes its place. Where the former catalog can be
read, so is what segments took with them that are missing or short (see `former`).

What the log does not tell is lost: results in the outbox, and marks of damage that is not met again. A delete
whose record is in a damaged region did not happen. Manifests that no version refers to, and staged pages, stay
away; the chunks they alone used are garbage.

In the last segment the entries behind the last commit mark were never acknowledged and do not count; in the
others every entry does, because a segment is followed by another only when all of it was committed. Segments
are left as they are, but that a damaged header, which says nothing else than the file's name does, is written
again.

The new catalog is made in `catalog.rebuilding` and takes its place by exchanging the two names, so a process
that dies leaves either the one or the other. The former one is kept as `catalog.before-N`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator

from replicator.data_plane.storage import files
from replicator.data_plane.storage.backup import refuse_backup
from replicator.data_plane.storage.catalog import Catalog
from replicator.data_plane.storage.findings import Finding, OnFinding
from replicator.data_plane.storage.former import compare
from replicator.data_plane.storage.record import SEGMENT_HEADER_BYTES, STORE_ID_BYTES, decode_segment_header
from replicator.data_plane.storage.recovery import is_empty
from replicator.data_plane.storage.refill import Rebuilt, Refill
from replicator.data_plane.storage.segment import Segments
from replicator.kernel.errors import Corrupt, InvalidRequest, Unavailable

_NEW, _FORMER = "catalog.rebuilding", "catalog.before-"


def rebuild_catalog(
    path: str,
    *,
    open_catalog: Callable[[str], Catalog],
    read_catalog: Callable[[str], Catalog] | None = None,
    on_finding: OnFinding,
) -> Rebuilt:
    """Make the catalog of the closed store in `path` anew.

    Args:
        read_catalog: opens the former one without changing it; as `open_catalog` does where it is None.

    Raises:
        Conflict: a process has the store open.
        InvalidRequest: there is nothing to make it from, or it is a backup.
        Corrupt: the segments are of several stores, or of a format that this release does not know.
    """
    refuse_backup(path)
    folder = os.path.join(path, "segments")
    if not os.path.isdir(folder):
        raise InvalidRequest(f"'{path}' holds no segments: it is not the data folder of a node", path=path)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, files.lock_folder(path))
        segments = Segments(folder, store_id=bytes(STORE_ID_BYTES), segment_bytes_max=1, reserve_bytes=0)
        stack.callback(segments.close)
        if not segments.numbers:
            raise InvalidRequest(
                f"'{folder}' holds no segments: there is nothing to make a catalog from", path=path
            )
        new = os.path.join(path, _NEW)
        _remove(new)
        os.mkdir(new)
        with _former(os.path.join(path, "catalog"), read_catalog or open_catalog) as former:
            done = _make(segments, new, open_catalog, on_finding, former)
        done.former = _take_place(path, new)
    return done


def _make(
    segments: Segments,
    folder: str,
    open_catalog: Callable[[str], Catalog],
    on_finding: OnFinding,
    former: Catalog | None,
) -> Rebuilt:
    store_id = _read_store_id(segments, on_finding)
    with contextlib.ExitStack() as stack:
        scratch = open_catalog(os.path.join(folder, "scratch"))
        stack.callback(scratch.close)
        catalog = open_catalog(os.path.join(folder, "catalog"))
        stack.callback(catalog.close)
        refill = Refill(segments, scratch, catalog, on_finding)
        refill.run(store_id)
        if former is not None:
            refill.done.compared = compare(former, catalog, refill, segments, on_finding)
        return refill.done


@contextlib.contextmanager
def _former(path: str, read_catalog: Callable[[str], Catalog]) -> Iterator[Catalog | None]:
    """The catalog that is there, None where it does not open."""
    try:
        former = read_catalog(path) if os.path.isdir(path) and os.listdir(path) else None
    except (InvalidRequest, Unavailable):
        former = None
    try:
        yield former
    finally:
        if former is not None:
            former.close()


def _read_store_id(segments: Segments, on_finding: OnFinding) -> bytes:
    """The id that the headers give; a header that is damaged is written again."""
    found: dict[bytes, int] = {}
    damaged = []
    for number in segments.numbers:
        try:
            named, store_id = decode_segment_header(segments.read_raw(number, 0, SEGMENT_HEADER_BYTES))
        except Corrupt:
            damaged.append(number)
            continue
        if named != number:
            raise Corrupt(
                f"the file of segment {number} is segment {named}: give it back its name", segment=number
            )
        found.setdefault(store_id, number)
    if len(found) > 1:
        numbers = " and ".join(map(str, sorted(found.values())))
        raise Corrupt(f"segments {numbers} are of different stores: take those out that do not belong here")
    store_id = next(iter(found), None) or os.urandom(STORE_ID_BYTES)
    for number in damaged:
        if not is_empty(segments, number):
            segments.write_header(number, store_id)
            on_finding(
                Finding(
                    "damaged-header",
                    f"the header of segment {number} was damaged; it is written again",
                    {"segment": number},
                )
            )
    return store_id


def _take_place(path: str, new: str) -> str | None:
    """Let the new catalog be the catalog; returns where the former one is."""
    current, made = os.path.join(path, "catalog"), os.path.join(new, "catalog")
    files.sync_folder(made)
    former = None
    if os.path.isdir(current):
        # Under the former one's name already: whichever moment the process dies, nothing here is taken for its own.
        former = _unused(os.path.join(path, _FORMER))
        os.rename(made, former)
        files.exchange(former, current)
    else:
        os.rename(made, current)
    files.sync_folder(path)
    _remove(new)
    return former


def _unused(prefix: str) -> str:
    number = 1
    while os.path.lexists(f"{prefix}{number}"):
        number += 1
    return f"{prefix}{number}"


def _remove(folder: str) -> None:
    if os.path.isdir(folder):
        shutil.rmtree(folder)
