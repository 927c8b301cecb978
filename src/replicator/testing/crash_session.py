"""What a script does to a store while a fault may meet it, noted for the oracle as it is tried and as it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from replicator.data_plane.ports import Version
from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.errors import NotFound, QuotaExceeded, Unavailable
from replicator.kernel.names import BucketName
from replicator.testing.crash_journal import Journal
from replicator.testing.node_store import StoreFolder, rocks
from replicator.testing.objects import (
    LongObject,
    commit,
    delete,
    history,
    listed,
    new_version,
    read_all,
    upload,
)
from replicator.testing.oracle import content_of

KEEPING = BucketName("keeping")
KEPT_KEYS = ("a", "b")
_READ_BYTES_MAX = 64 * 1024 * 1024

SEGMENT_BYTES_MAX = 64 * 1024
_BLOCK_BYTES = 16 * 1024


def store_folder(path: Path) -> StoreFolder:
    """The store that scripts work on: RocksDB, small segments."""
    return StoreFolder(path, open_catalog=rocks, segment_bytes_max=SEGMENT_BYTES_MAX)


def contents(store: NodeStore) -> dict[str, bytes]:
    """SHA-256 of every object, read in full; under `keeping/…` of the history of each key of that bucket.

    Of an object too large to be read often it is that of its manifest's digest, and each distinct chunk is read.
    """
    found: dict[str, bytes] = {each.object_id: _content(store, each) for each in listed(store)}
    for key in KEPT_KEYS if _keeps(store) else ():
        if told := told_history(store, key):
            found[f"{KEEPING}/{key}"] = content_of(repr(told).encode())
    return found


def _keeps(store: NodeStore) -> bool:
    return any(bucket.name == KEEPING for bucket in store.buckets(None, 1000))


def told_history(store: NodeStore, key: str) -> list[str]:
    """Every version of a key of the bucket `keeping`, newest first: SHA-256 of its bytes, or a marker."""
    return [
        _content(store, each).hex() if isinstance(each, Version) else "delete marker"
        for each in history(store, key, KEEPING)
    ]


def _content(store: NodeStore, version: Version) -> bytes:
    manifest = store.manifest(version.manifest)
    if version.size <= _READ_BYTES_MAX:
        return content_of(read_all(store, manifest))
    store.read(sorted({ref for page in store.entries(manifest) for ref in page}))
    return content_of(manifest.digest)


class Session:
    """Operations on an open store. Each notes what is tried, and then how it ended.

    An error that a caller could be given is such an end. Any other travels, and ends the run as broken.

    Args:
        path: the data folder.
    """

    def __init__(self, store: NodeStore, path: Path, journal: Journal) -> None:
        self.store = store
        self.path = path
        self._journal = journal

    def put(self, object_id: str, data: bytes) -> None:
        """Upload an object, in blocks."""
        self._change(
            object_id, content_of(data), lambda: upload(self.store, object_id, data, block_bytes=_BLOCK_BYTES)
        )

    def put_long(self, object_id: str, long: LongObject) -> None:
        """Upload an object whose manifest has pages."""
        self._change(
            object_id,
            content_of(long.data),
            lambda: commit(self.store, long.new_version(object_id, number=long.stage(self.store))),
        )

    def delete(self, object_id: str) -> None:
        """Delete an object."""
        self._change(object_id, None, lambda: delete(self.store, object_id))

    def put_kept(self, key: str, data: bytes) -> None:
        """Make a version of a key of the bucket `keeping`."""
        new = new_version(key, data, bucket=KEEPING)
        self._change_kept(key, [content_of(data).hex()], 0, lambda: commit(self.store, new))

    def delete_kept(self, key: str) -> None:
        """Leave a delete marker on a key of the bucket `keeping`."""
        self._change_kept(key, ["delete marker"], 0, lambda: delete(self.store, key, bucket=KEEPING))

    def drop_newest_kept(self, key: str) -> None:
        """Remove the newest version, or delete marker, of a key of the bucket `keeping`."""
        kept = history(self.store, key, KEEPING)
        if not kept:
            # What was to be here was refused.
            return
        version = kept[0].version
        self._change_kept(key, [], 1, lambda: delete(self.store, key, bucket=KEEPING, version=version))

    def _change_kept(self, key: str, made: list[str], dropped: int, change: Callable[[], object]) -> None:
        told = made + told_history(self.store, key)[dropped:]
        content = content_of(repr(told).encode()) if told else None
        self._change(f"{KEEPING}/{key}", content, change)

    def keep_up(self, work: Callable[[], object]) -> None:
        """Do what changes no object: an addition of chunks, maintenance."""
        try:
            work()
        except (QuotaExceeded, Unavailable) as error:
            self._journal.note("refused work", str(error))

    def _change(self, object_id: str, content: bytes | None, change: Callable[[], object]) -> None:
        shown = None if content is None else content.hex()
        self._journal.note("trying", object_id, shown)
        try:
            change()
        except QuotaExceeded:
            self._journal.note("refused", object_id, shown)
        except NotFound:
            # Of a deletion, where the object could not be put before.
            self._journal.note("refused", object_id, shown)
        except Unavailable as error:
            # Whether it was kept shows only after a restart.
            self._journal.note("unanswered", object_id, str(error))
        else:
            self._journal.note("acknowledged", object_id, shown)
