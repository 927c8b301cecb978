"""Parts of crash scripts about what is done to a store as a whole: upkeep, backups, rebuilding, old formats."""

from __future__ import annotations

import os
import random
import shutil
import tarfile
from contextlib import suppress
from pathlib import Path

from replicator.data_plane.ports import Versioning
from replicator.data_plane.storage.backup import Backups, restore
from replicator.data_plane.storage.rebuild import rebuild_catalog
from replicator.data_plane.storage.record import KIND_VERSION, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES
from replicator.data_plane.storage.scrub import Scrubber, ScrubPolicy
from replicator.data_plane.storage.walk import Record, walk
from replicator.kernel.digest import Digest
from replicator.kernel.errors import QuotaExceeded, Unavailable
from replicator.testing.crash_session import KEEPING, Session, contents, store_folder
from replicator.testing.damage import flip_bit
from replicator.testing.node_store import rocks
from replicator.testing.objects import named, noise
from replicator.testing.oracle import content_of
from replicator.testing.reclaiming import collect, compact_all
from replicator.testing.storage_faults import full_disk

EARLIER_FORMAT = Path(__file__).parents[3] / "tests" / "fixtures" / "store-format-1.tar.xz"
EARLIER_CONTENTS = {
    "a/b/two-segments.bin": content_of(
        random.Random(1).randbytes(250_000) + random.Random(2).randbytes(150_000)
    ),
    "empty": content_of(b""),
    # A gigabyte of zeros, known by its manifest: see `crash_session.contents`.
    "paged-zeros": content_of(
        Digest.parse("52e8d9a000e67aad633a1d8cab47eaa68e67a08d382156b2d0a82b250a065085")
    ),
    "replaced": content_of(b"second"),
    "small.txt": content_of(b"hello, earlier format\n"),
}
"""What `earlier_format` holds."""
_EARLIER_CATALOG = "catalog.earlier"


def earlier_format(path: Path) -> None:
    """Put a store that a release of format 1 has written in the place of this one."""
    shutil.rmtree(path)
    with tarfile.open(EARLIER_FORMAT) as archive:
        archive.extractall(path.parent / "earlier", filter="data")
    (path.parent / "earlier" / "store").rename(path)


def versions(session: Session) -> None:
    """Some of each in a bucket that keeps versions."""
    session.keep_up(lambda: session.store.set_bucket(KEEPING, Versioning.ON))
    session.put_kept("a", noise(70, 900))
    session.put_kept("a", noise(71, 900))
    session.put_kept("b", noise(71, 900))
    session.delete_kept("b")


def version_changes(session: Session) -> None:
    """Versions and markers come, go and are compacted."""
    session.put_kept("a", noise(72, 900))
    session.drop_newest_kept("a")
    session.delete_kept("a")
    session.drop_newest_kept("b")
    session.keep_up(lambda: collect(session.store))
    session.keep_up(lambda: compact_all(session.store))
    session.drop_newest_kept("a")
    session.put_kept("b", noise(73, 900))


def back_up_and_restore(session: Session) -> None:
    """Make a backup, restore it elsewhere, and find there what is here."""
    session.put("small/new", noise(10, 500))
    session.keep_up(lambda: _back_up_and_restore(session))
    session.put("small/1", noise(11, 900))
    session.keep_up(lambda: compact_all(session.store))


def _back_up_and_restore(session: Session) -> None:
    restored = session.path / "restored"
    restore(Path(Backups(session.store.parts, session.path / "backups").make("monday")), restored)
    with store_folder(restored).opened() as store:
        assert contents(store) == contents(session.store)


def rebuild(path: Path) -> None:
    """Make the catalog anew."""
    rebuild_catalog(str(path), open_catalog=rocks, on_finding=lambda _: None)


def damage_entries(path: Path) -> None:
    """Let every version in the first segment rot."""
    segment = path / "segments" / "00000001.segment"
    data = segment.read_bytes()
    for found in walk(lambda at, length: data[at : at + length], 1, SEGMENT_HEADER_BYTES, len(data)):
        if isinstance(found, Record) and found.header.kind == KIND_VERSION:
            flip_bit(segment, offset=found.place.offset + RECORD_HEADER_BYTES, bit=0)


def scrub(session: Session) -> None:
    """Find what has rotted, and write it to the log again."""
    policy = ScrubPolicy(period_s=0.001, bytes_per_s_max=1 << 40)
    scrubber = Scrubber(
        session.store.parts,
        policy=policy,
        on_read=lambda _: None,
        on_damage=lambda _: None,
        on_broken=lambda _: None,
    )
    session.keep_up(scrubber.run_once)
    session.put("small/new", noise(10, 500))
    session.keep_up(lambda: compact_all(session.store))


def keep_this_catalog(session: Session) -> None:
    """Keep the catalog as it is now beside the one in use."""
    session.store.checkpoint()
    session.store.parts.catalog.copy_to(str(session.path / _EARLIER_CATALOG))


def set_catalog_back(path: Path) -> None:
    """Let the catalog be as it was, as a power cut does."""
    shutil.rmtree(path / "catalog")
    os.rename(path / _EARLIER_CATALOG, path / "catalog")


def first_write_fails(session: Session) -> None:
    """The disk is full in the midst of the first write; then another segment is begun, and all goes on."""
    with full_disk(after_bytes=700), suppress(QuotaExceeded, Unavailable):
        session.store.add(named(noise(80, 3_000)))
    session.keep_up(session.store.parts.chunks.roll)
    session.put("small/new", noise(10, 500))
    session.delete("small/1")
