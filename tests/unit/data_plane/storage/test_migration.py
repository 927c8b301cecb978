"""A store that the release before has written: it opens, nothing is lost, and no interruption harms it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import shutil
import tarfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from replicator.data_plane.ports import Version
from replicator.data_plane.storage import migration, rows
from replicator.data_plane.storage.catalog import FAMILIES, Batch, Family
from replicator.data_plane.storage.rows import Place
from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import QuotaExceeded, StoreFailed
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.testing.catalog_state import Rows, require_consistent, require_exact_accounts, rows_but_times
from replicator.testing.changes import wait_for_discards
from replicator.testing.node_store import StoreFolder, rocks
from replicator.testing.objects import commit, delete, history, listed, new_version, read_all, upload
from replicator.testing.rewinding import RewindableCatalog
from replicator.testing.storage_faults import full_disk

FIXTURE = Path(__file__).parents[3] / "fixtures" / "store-format-1.tar.xz"
ZEROS_BYTES = 1050 * 1024 * 1024
CONTENTS = {
    "a/b/two-segments.bin": random.Random(1).randbytes(250_000) + random.Random(2).randbytes(150_000),
    "empty": b"",
    "replaced": b"second",
    "small.txt": b"hello, earlier format\n",
}
VERSIONS = {
    "a/b/two-segments.bin": "01a2038265830000ca12f31b8cbf5f29",
    "empty": "01a2038265840000ca12f31b8cbf5f29",
    "paged-zeros": "01a203826a720000ca12f31b8cbf5f29",
    "replaced": "01a20382657d0000ca12f31b8cbf5f29",
    "small.txt": "01a2038265790000ca12f31b8cbf5f29",
}
CONTENT_TYPES = {"small.txt": "text/plain"}
SEGMENT_BYTES_MAX = 200_000


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as the release before left it."""
    path = tmp_path_factory.mktemp("earlier")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(path, filter="data")
    return path / "store"


@pytest.fixture
def folder(earlier: Path, tmp_path: Path) -> StoreFolder:
    shutil.copytree(earlier, tmp_path / "store")
    return StoreFolder(tmp_path / "store", open_catalog=rocks, segment_bytes_max=SEGMENT_BYTES_MAX)


def require_all_there(store: NodeStore) -> None:
    found = {str(version.object_id): version for version in listed(store)}
    assert {key: str(version.version) for key, version in found.items()} == VERSIONS
    for key, data in CONTENTS.items():
        version = found[key]
        assert history(store, key) == [version]
        assert version.null
        assert (version.size, version.content_type) == (
            len(data),
            CONTENT_TYPES.get(key, "application/octet-stream"),
        )
        assert read_all(store, store.manifest(version.manifest)) == data
    require_zeros(store, found["paged-zeros"])
    assert store.head(DEFAULT_BUCKET, ObjectId("deleted")) is None
    assert history(store, "deleted") == []
    assert store.outbox() == [(7, 3, b'{"kept":"result"}')]


def require_zeros(store: NodeStore, version: Version) -> None:
    """Its chunks are few and its pages are two: each distinct chunk is read once."""
    manifest = store.manifest(version.manifest)
    assert (version.size, version.chunk_count, manifest.page_count) == (ZEROS_BYTES, 4200, 2)
    refs = [ref for page in store.entries(manifest) for ref in page]
    assert sum(ref.length for ref in refs) == ZEROS_BYTES
    for ref in set(refs):
        assert not any(store.read([ref]))


def test_a_store_of_the_format_before_opens_with_all_that_is_in_it(folder: StoreFolder) -> None:
    for _ in range(2):
        with folder.opened() as store:
            require_all_there(store)
            wait_for_discards(store, store._catalog)
            assert not list(store._catalog.scan("meta", rows.STAGED_PREFIX))
            require_exact_accounts(store._catalog, store.accounts)
            require_consistent(store._catalog)


def test_a_store_of_the_format_before_takes_writes(folder: StoreFolder) -> None:
    with folder.opened() as store:
        newest = upload(store, "replaced", b"third")
        assert newest.replaced is not None
        assert str(newest.replaced.version) == VERSIONS["replaced"]
        assert newest.version.version > newest.replaced.version
        # Content that is here already is not stored again.
        copy = upload(store, "copy", CONTENTS["a/b/two-segments.bin"])
        assert copy.version.size == 400_000
        delete(store, "paged-zeros")
    with folder.opened() as store:
        assert [str(version.object_id) for version in listed(store)] == [
            "a/b/two-segments.bin",
            "copy",
            "empty",
            "replaced",
            "small.txt",
        ]
        assert commit(store, new_version("late", b"third")).added.chunks == 0
        wait_for_discards(store, store._catalog)
        require_exact_accounts(store._catalog, store.accounts)
        require_consistent(store._catalog)


class Interrupted:
    """The same store with its catalog in memory, made anew for each interruption."""

    def __init__(self, earlier: Path, path: Path) -> None:
        self.catalog = RewindableCatalog()
        self.folder = StoreFolder(
            path / "node", open_catalog=lambda _: self.catalog, segment_bytes_max=SEGMENT_BYTES_MAX
        )
        self._earlier = earlier
        shutil.copytree(earlier / "catalog", path / "catalog")
        on_disk = rocks(str(path / "catalog"))
        batch = Batch()
        for family in FAMILIES:
            for key, row in on_disk.scan(family, b""):
                batch.put(family, key, row)
        on_disk.close()
        self.catalog.write(batch)
        self._begin = self.catalog.moments[-1]

    def begin(self) -> None:
        """As the release before left it."""
        self.catalog.rewind(self._begin)
        self.folder.failures.clear()
        shutil.rmtree(self.folder.path, ignore_errors=True)
        shutil.copytree(self._earlier / "segments", self.folder.path / "segments")
        (self.folder.path / "catalog").mkdir()

    def state(self) -> Rows:
        """Open the store, and say what is in it but for where in the log."""
        with self.folder.opened() as store:
            wait_for_discards(store, self.catalog)
            require_exact_accounts(self.catalog, store.accounts)
            require_consistent(self.catalog)
            require_all_there(store)
        return {
            (family, key): _placeless(family, key, row)
            for (family, key), row in rows_but_times(self.catalog).items()
            if not (family == "meta" and key.startswith((rows.SEGMENT_PREFIX, rows.COUNTERS_KEY)))
        }


def _placeless(family: Family, key: bytes, row: bytes) -> bytes:
    nowhere = Place(0, 0)
    match family:
        case "manifests" if len(key) == DIGEST_BYTES:
            manifest = rows.decode_manifest_row(row, Digest(key))
            return rows.encode_manifest_row(manifest._replace(place=nowhere))
        case "pages":
            return rows.decode_page_row(row).encoded
        case "versions":
            return rows.encode_version_row(rows.decode_version(key, row), nowhere)
        case "heads":
            return rows.encode_version_row(rows.decode_head(key, row), nowhere)
    return row


@pytest.fixture
def interrupted(earlier: Path, tmp_path: Path) -> Interrupted:
    return Interrupted(earlier, tmp_path)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "_ENTRIES_PER_BATCH", 4)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("applies", [False, True], ids=["not written", "written"])
def test_a_migration_that_dies_at_any_write_of_the_catalog(interrupted: Interrupted, applies: bool) -> None:
    interrupted.begin()
    expected = interrupted.state()
    for writes in itertools.count():
        interrupted.begin()
        interrupted.catalog.writes_left = writes
        interrupted.catalog.applies_the_failing = applies
        try:
            interrupted.folder.open().close()
        except StoreFailed:
            interrupted.catalog.rewind(interrupted.catalog.moments[-1])
            assert interrupted.state() == expected
        else:
            break
    assert writes > 4


class Dying:
    """Lets a call of `os` fail at the `after`-th time; a write is torn."""

    def __init__(self, call: str, after: int) -> None:
        self.left = after
        self._call = getattr(os, call)
        self._tears = call == "pwritev"

    def __call__(self, descriptor: int, *arguments: Any) -> Any:
        self.left -= 1
        if self.left >= 0:
            return self._call(descriptor, *arguments)
        if self._tears:
            buffers, offset = arguments
            data = b"".join(bytes(buffer) for buffer in buffers)
            os.pwrite(descriptor, data[: len(data) // 2], offset)
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("call", ["pwritev", "fdatasync", "fsync"])
def test_a_migration_that_dies_at_any_call_to_the_disk(interrupted: Interrupted, call: str) -> None:
    interrupted.begin()
    expected = interrupted.state()
    for after in itertools.count():
        interrupted.begin()
        dying = Dying(call, after)
        with mock.patch.object(os, call, dying), contextlib.suppress(StoreFailed):
            interrupted.folder.open().close()
        if dying.left >= 0:
            break
        interrupted.folder.failures.clear()
        interrupted.catalog.rewind(interrupted.catalog.moments[-1])
        assert interrupted.state() == expected
    assert after > 1


def test_a_migration_that_finds_the_disk_full_is_done_once_there_is_room(interrupted: Interrupted) -> None:
    interrupted.begin()
    with full_disk(after_bytes=1000), pytest.raises(QuotaExceeded):
        interrupted.folder.open()
    interrupted.state()
