"""Groups: many commits share one sync, and none of them feels the others."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from replicator.data_plane.ports import UNCONDITIONAL, Committed, Condition, NewVersion
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.catalog import Batch, Family
from replicator.data_plane.storage.memory_catalog import MemoryCatalog
from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.errors import (
    Conflict,
    Corrupt,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    ReplicatorError,
    StoreFailed,
)
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.kernel.version import VersionId
from replicator.testing.catalog_state import require_exact_accounts
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import LongObject, commit, listed, named, new_version, noise, read_all
from replicator.testing.storage_faults import FailingCatalog, failing, full_disk
from replicator.testing.waiting import DEADLINE_S, wait_until

Outcome = tuple[Committed | None, ReplicatorError | None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[NodeStore]:
    with StoreFolder(tmp_path).opened() as store:
        yield store


class Told:
    """Collects what settles, by name."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[Outcome]] = {}

    def settle(self, name: str) -> Callable[[Any, ReplicatorError | None], None]:
        heard = self.outcomes.setdefault(name, [])
        return lambda done, error: heard.append((done, error))

    def error(self, name: str) -> type[ReplicatorError] | None:
        """How `name` ended; fails unless it was told exactly once."""
        [(done, error)] = self.outcomes[name]
        assert (done is None) != (error is None)
        return None if error is None else type(error)

    def all_told(self) -> bool:
        return all(self.outcomes.values())


@contextmanager
def one_group(store: NodeStore) -> Iterator[Told]:
    """What the block asks for waits until its end, and is then committed as one group."""
    held, release, told = threading.Event(), threading.Event(), Told()

    def hold(_: object, __: ReplicatorError | None) -> None:
        held.set()
        release.wait(DEADLINE_S)

    store.delete(DEFAULT_BUCKET, ObjectId("never there"), UNCONDITIONAL, hold)
    assert held.wait(DEADLINE_S)
    try:
        yield told
    finally:
        release.set()
    wait_until(told.all_told, "every request of the group has settled")


def absent(object_id: str, payload: bytes) -> NewVersion:
    return new_version(object_id, payload, condition=Condition(must_be_absent=True))


def test_a_refused_request_does_not_disturb_its_group(store: NodeStore) -> None:
    with one_group(store) as told:
        store.commit(absent("a", b"first"), told.settle("first"))
        store.commit(absent("a", b"second"), told.settle("second"))
        store.commit(new_version("b", b"first"), told.settle("other"))
        store.delete(DEFAULT_BUCKET, ObjectId("c"), UNCONDITIONAL, told.settle("nothing"))
        store.commit(new_version("a", b"third"), told.settle("third"))
        store.delete(DEFAULT_BUCKET, ObjectId("b"), UNCONDITIONAL, told.settle("gone"))
        store.delete(DEFAULT_BUCKET, ObjectId("b"), UNCONDITIONAL, told.settle("gone already"))
    assert told.error("second") is PreconditionFailed
    assert told.error("nothing") is told.error("gone already") is NotFound
    assert [told.error(name) for name in ("first", "other", "third", "gone")] == [None] * 4
    found = listed(store, limit=10)
    assert [version.object_id for version in found] == ["a"]
    assert read_all(store, store.manifest(found[0].manifest)) == b"third"


def test_a_request_that_meets_a_damaged_row_midway_changes_nothing(tmp_path: Path) -> None:
    catalog = MemoryCatalog()
    folder = StoreFolder(tmp_path, open_catalog=lambda _: catalog)
    with folder.opened() as store:
        damaged = commit(store, new_version("damaged", b"first")).version
        commit(store, new_version("gone", b"second"))
        row = catalog.get("manifests", damaged.manifest)
        assert row is not None
        catalog.write(changed("manifests", damaged.manifest, row[:-1]))
        with one_group(store) as told:
            store.commit(new_version("kept", b"third"), told.settle("before"))
            store.delete(DEFAULT_BUCKET, ObjectId("damaged"), UNCONDITIONAL, told.settle("damaged"))
            store.delete(DEFAULT_BUCKET, ObjectId("gone"), UNCONDITIONAL, told.settle("behind"))
        assert told.error("damaged") is Corrupt
        assert told.error("before") is told.error("behind") is None
        catalog.write(changed("manifests", damaged.manifest, row))
        assert [version.object_id for version in listed(store)] == ["damaged", "kept"]
        require_exact_accounts(catalog, store.accounts)
    with folder.opened() as store:
        assert [version.object_id for version in listed(store)] == ["damaged", "kept"]


def changed(family: Family, key: bytes, row: bytes) -> Batch:
    batch = Batch()
    batch.put(family, key, row)
    return batch


def test_within_a_group_a_version_replaces_the_one_before(store: NodeStore) -> None:
    with one_group(store) as told:
        for name in "abc":
            store.commit(new_version("key", name.encode()), told.settle(name))
    dones = [told.outcomes[name][0][0] for name in "abc"]
    assert all(dones)
    versions = [done.version for done in dones if done]
    assert [done.replaced for done in dones if done] == [None, *versions[:-1]]
    assert listed(store, limit=10) == versions[-1:]


def test_the_same_content_in_one_group_is_stored_once(store: NodeStore) -> None:
    payload = noise(0, 500)
    with one_group(store) as told:
        for name in "abc":
            store.commit(new_version(name, payload), told.settle(name))
    added = [done.added for [(done, _)] in told.outcomes.values() if done]
    assert sorted(added) == [(0, 0), (0, 0), (1, 500)]


def test_a_peer_cannot_give_the_version_of_one_object_to_another(store: NodeStore) -> None:
    """Both would count as one reference to the manifest, and deleting either would leave the other without."""
    version = commit(store, new_version("a", b"x")).version.version
    with pytest.raises(Conflict, match="another object"):
        commit(store, new_version("b", b"x", version=version))
    with one_group(store) as told:
        given = VersionId(b"\xfe" + bytes(15))
        store.commit(new_version("c", b"x", version=given), told.settle("first"))
        store.commit(new_version("d", b"x", version=given), told.settle("second"))
    assert told.error("first") is None
    assert told.error("second") is Conflict
    assert [found.object_id for found in listed(store)] == ["a", "c"]


def test_an_object_staged_twice_is_whole_when_both_commit_in_one_group(store: NodeStore) -> None:
    long = LongObject()
    numbers = [long.stage(store), long.stage(store)]
    with one_group(store) as told:
        for number in numbers:
            store.commit(long.new_version(f"long {number}", number=number), told.settle(str(number)))
            store.discard(number)
    store.checkpoint()
    assert [told.error(str(number)) for number in numbers] == [None, None]
    assert read_all(store, long.manifest) == long.data


def test_a_full_disk_refuses_those_who_bring_bytes_and_serves_the_others(store: NodeStore) -> None:
    commit(store, new_version("old", b"old"))
    with full_disk(), one_group(store) as told:
        store.commit(new_version("big", noise(0, 500)), told.settle("big"))
        store.commit(new_version("empty"), told.settle("empty"))
        store.delete(DEFAULT_BUCKET, ObjectId("old"), UNCONDITIONAL, told.settle("old"))
    assert told.error("big") is told.error("empty") is QuotaExceeded
    assert told.error("old") is None
    assert listed(store, limit=10) == []


def test_a_failed_sync_fails_the_whole_group_and_every_later_one(store: NodeStore) -> None:
    with failing("fdatasync", errno.EIO) as sync, one_group(store) as told:
        store.commit(new_version("a", b"a"), told.settle("a"))
        store.commit(absent("b", b"b"), told.settle("b"))
    assert told.error("a") is told.error("b") is StoreFailed
    assert sync.call_count == 1
    with one_group(store) as later:
        store.commit(new_version("c", b"c"), later.settle("c"))
    assert later.error("c") is StoreFailed
    assert listed(store, limit=10) == []


class WatchedCatalog(FailingCatalog):
    """Checks, whenever chunk rows are written, that the bytes they name were synced before."""

    def __init__(self, folder: StoreFolder) -> None:
        super().__init__(MemoryCatalog())
        self.chunk_rows = 0
        self._folder = folder
        self._synced: dict[int, int] = {}

    def synced(self, descriptor: int) -> None:
        """Stands in for `fdatasync`."""
        stat = os.fstat(descriptor)
        self._synced[stat.st_ino] = stat.st_size

    def write(self, batch: Batch) -> None:
        """See `Catalog.write`."""
        for family, key, row in batch.operations:
            if family == "chunks" and rows.is_chunk_key(key) and row is not None:
                place = rows.decode_location(row)
                durable = self._synced.get(self._folder.segment(place.segment).stat().st_ino, 0)
                assert place.offset + place.record_bytes <= durable
                self.chunk_rows += 1
        super().write(batch)


def test_the_catalog_never_names_bytes_that_were_not_synced_before(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path, segment_bytes_max=400)
    catalog = WatchedCatalog(folder)
    folder.open_catalog = lambda _: catalog
    long = LongObject()
    with mock.patch.object(os, "fdatasync", catalog.synced), folder.opened() as store:
        for number in range(10):
            store.add(named(noise(number, 150)))
            commit(store, new_version(f"{number}", noise(100 + number, 150)))
        store.add(named(noise(50, 150)))
        store.checkpoint()
        commit(store, long.new_version("long", number=long.stage(store)))
    assert catalog.chunk_rows == 21 + len(long.payloads)
    assert folder.failures == []


def test_what_settles_can_be_seen_at_that_moment(store: NodeStore) -> None:
    seen: list[bool] = []

    def settle(done: Committed | None, _: ReplicatorError | None) -> None:
        seen.append(done is not None and store.head(DEFAULT_BUCKET, ObjectId("a")) == done.version)

    for payload in (b"one", b"two"):
        store.commit(new_version("a", payload), settle)
        store.checkpoint()
    assert seen == [True, True]


def test_closing_commits_what_waits(tmp_path: Path) -> None:
    folder, told = StoreFolder(tmp_path), Told()
    with folder.opened() as store:
        for number in range(600):
            store.commit(new_version(f"{number}", b"x"), told.settle(f"{number}"))
    assert {told.error(name) for name in told.outcomes} == {None}
    with folder.opened() as store:
        assert len(listed(store, limit=1000)) == 600


def test_commits_of_many_threads_share_groups(store: NodeStore) -> None:
    requests, groups = store.committer.requests_total, store.committer.groups_total
    with one_group(store) as told:
        run_in_threads(
            8, lambda writer: store.commit(new_version(f"{writer}", b"x"), told.settle(f"{writer}"))
        )
    assert store.committer.requests_total - requests == 9
    assert store.committer.groups_total - groups == 2


def run_in_threads(count: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
