"""What one attempt to bring an object here does with the store on both sides."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from replicator.data_plane.ports import NewVersion, Settle, Store, Versioning
from replicator.data_plane.replication.ports import Delivery
from replicator.data_plane.replication.pull import VERSION_AHEAD_MS_MAX, Pull, Pulled
from replicator.data_plane.storage.record import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, Cancelled, Conflict, Corrupt, NotFound, QuotaExceeded
from replicator.kernel.manifest import PAGE_ENTRIES, ChunkRef, Manifest
from replicator.kernel.names import DEFAULT_BUCKET, NodeName, ObjectId
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_store import MemoryStore
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import (
    TINY_CHUNKING,
    commit,
    history,
    new_version,
    noise,
    read_all,
    ref_of,
    upload,
)
from replicator.testing.storage_faults import full_disk
from replicator.testing.store_peer import SOURCE, StorePeer

KEY = ObjectId("a")


def memory_store(name: str = "source") -> MemoryStore:
    return MemoryStore(clock=FrozenClock(), node_name=name, chunking=TINY_CHUNKING)


def pull_into(store: Store, peer: StorePeer) -> tuple[Pull, Pulled]:
    pull = Pull(KEY, store, peer, FrozenClock(), threading.Event(), SOURCE)
    return pull, pull.run()


def content(store: Store) -> bytes:
    head = store.head(DEFAULT_BUCKET, KEY)
    assert head is not None
    return read_all(store, store.manifest(head.manifest))


@pytest.mark.parametrize("length", [0, 1, 5000, (PAGE_ENTRIES + 50) * 1024])
def test_an_object_arrives_with_its_version(length: int) -> None:
    source, here = memory_store(), memory_store("destination")
    data = noise(1, length)
    version = upload(source, KEY, data).version
    pull, pulled = pull_into(here, StorePeer(source))
    assert pulled.version == version
    assert content(here) == data
    assert pull.tally.done == pull.tally.logical == length
    assert pull.tally.transferred + pull.tally.deduplicated == length
    assert not pulled.skipped or length == 0


def test_what_is_here_already_does_not_travel() -> None:
    source, here = memory_store(), memory_store("destination")
    commit(source, new_version(KEY, b"one", b"two", b"one", b"three"))
    commit(here, new_version("other", b"two"))
    peer = StorePeer(source)
    pull, _ = pull_into(here, peer)
    assert peer.fetched == [ref_of(b"one"), ref_of(b"three")]
    assert (pull.tally.transferred, pull.tally.deduplicated) == (8, 6)
    again = StorePeer(source)
    pull, pulled = pull_into(here, again)
    assert pulled.skipped
    assert again.fetched == []
    assert (pull.tally.transferred, pull.tally.deduplicated) == (0, 14)


def test_a_chunk_that_is_damaged_here_is_brought_again(tmp_path: Path) -> None:
    source, folder = memory_store(), StoreFolder(tmp_path)
    commit(source, new_version(KEY, b"first", b"other"))
    with folder.opened() as here:
        pull_into(here, StorePeer(source))
        with folder.segment().open("r+b") as file:
            file.seek(SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES)
            file.write(b"F")
        with pytest.raises(Corrupt):
            content(here)
        assert here.has_damage
        peer = StorePeer(source)
        _, pulled = pull_into(here, peer)
        assert not pulled.skipped
        assert peer.fetched == [ref_of(b"first")]
        assert content(here) == b"firstother"
        assert not here.has_damage
    with folder.opened() as here:
        assert content(here) == b"firstother"


def test_a_newer_version_here_is_kept() -> None:
    source, here = memory_store(), memory_store("destination")
    commit(source, new_version(KEY, b"old"))
    commit(here, new_version(KEY, b"new"))
    commit(here, new_version(KEY, b"newer"))
    with pytest.raises(Conflict, match="newer version"):
        pull_into(here, StorePeer(source))
    assert content(here) == b"newer"


def test_an_object_that_is_not_there() -> None:
    with pytest.raises(NotFound):
        pull_into(memory_store(), StorePeer(memory_store()))


def test_an_offer_of_another_node_is_refused() -> None:
    stale, here = memory_store(), memory_store("destination")
    commit(stale, new_version(KEY, b"x"))
    with pytest.raises(Conflict, match="base_url of node 'source' leads to node 'destination'"):
        pull_into(here, StorePeer(stale, NodeName("destination")))
    assert here.head(DEFAULT_BUCKET, KEY) is None


class Liar(StorePeer):
    """Sends other bytes of the right length."""

    def fetch(self, refs: Sequence[ChunkRef]) -> Iterator[Delivery]:
        """See `StorePeer.fetch`."""
        for delivery in super().fetch(refs):
            yield delivery._replace(
                chunks=[(digest, memoryview(bytes(len(payload)))) for digest, payload in delivery.chunks]
            )


def test_bytes_that_do_not_hash_to_their_digest_are_not_kept() -> None:
    source, here = memory_store(), memory_store("destination")
    commit(source, new_version(KEY, b"true"))
    with pytest.raises(BrokenPeer, match="other bytes"):
        pull_into(here, Liar(source))
    assert here.head(DEFAULT_BUCKET, KEY) is None
    assert here.locate([ref_of(b"true").digest]) == [None]


def test_a_version_from_the_future_is_refused() -> None:
    source, here = (
        MemoryStore(clock=FrozenClock(wall_ms=FrozenClock().wall_ms() + VERSION_AHEAD_MS_MAX + 2)),
        memory_store(),
    )
    commit(source, new_version(KEY, b"x"))
    with pytest.raises(BrokenPeer, match="clocks"):
        pull_into(here, StorePeer(source))


def test_a_cancelled_pull_keeps_what_came_and_the_next_one_brings_the_rest(tmp_path: Path) -> None:
    source, folder = memory_store(), StoreFolder(tmp_path)
    data = noise(3, (PAGE_ENTRIES + 50) * 1024)
    upload(source, KEY, data)
    stop = threading.Event()

    class Stopping(StorePeer):
        def fetch(self, refs: Sequence[ChunkRef]) -> Iterator[Delivery]:
            for count, delivery in enumerate(super().fetch(refs)):
                if count == 100:
                    stop.set()
                yield delivery

    with folder.opened() as here:
        with pytest.raises(Cancelled):
            Pull(KEY, here, Stopping(source), FrozenClock(), stop, SOURCE).run()
        assert here.head(DEFAULT_BUCKET, KEY) is None
    with folder.opened() as here:
        peer = StorePeer(source)
        pull, _ = pull_into(here, peer)
        assert content(here) == data
        assert pull.tally.transferred < len(data) - 100 * TINY_CHUNKING.chunk_bytes_min


def test_the_error_of_a_full_disk_is_the_one_reported(tmp_path: Path) -> None:
    source, folder = memory_store(), StoreFolder(tmp_path)
    upload(source, KEY, noise(4, 5000))
    with folder.opened() as here:
        with full_disk(), pytest.raises(QuotaExceeded):
            pull_into(here, StorePeer(source))
        assert here.head(DEFAULT_BUCKET, KEY) is None
        pull_into(here, StorePeer(source))
        assert content(here) == noise(4, 5000)


def test_what_a_pull_needs_is_held_until_it_has_ended() -> None:
    source, here = memory_store(), memory_store("destination")
    commit(here, new_version("other", b"two"))
    commit(source, new_version(KEY, b"one", b"two", b"three"))
    seen: list[set[Digest]] = []

    class Watched(StorePeer):
        def fetch(self, refs: Sequence[ChunkRef]) -> Iterator[Delivery]:
            """See `StorePeer.fetch`."""
            for delivery in super().fetch(refs):
                seen.append(set(here.holds[0].chunks))
                yield delivery

    pull_into(here, Watched(source))
    known, one = Digest.of(b"two"), Digest.of(b"one")
    assert seen == [{known}, {known, one}]
    assert here.holds == []


def test_a_pull_of_pages_holds_no_more_than_a_page() -> None:
    source, here = memory_store(), memory_store("destination")
    upload(source, KEY, noise(1, (PAGE_ENTRIES + 50) * 1024))
    most: list[int] = []

    class Watched(StorePeer):
        def page(self, manifest: Manifest, index: int) -> bytes:
            """See `StorePeer.page`."""
            most.append(len(here.holds[0].chunks))
            return super().page(manifest, index)

    pull_into(here, Watched(source))
    assert most == [0] * len(most)
    assert len(most) > 1


def test_a_failed_pull_holds_nothing_any_more() -> None:
    source, here = memory_store(), memory_store("destination")
    commit(source, new_version(KEY, b"true"))
    with pytest.raises(BrokenPeer):
        pull_into(here, Liar(source))
    assert here.holds == []


def test_an_older_version_takes_its_place_where_versions_are_kept() -> None:
    source, here = memory_store(), memory_store("destination")
    older = commit(source, new_version(KEY, b"old")).version
    here.set_bucket(DEFAULT_BUCKET, Versioning.ON)
    for content_here in (b"new", b"newer"):
        commit(here, new_version(KEY, content_here))
    _, pulled = pull_into(here, StorePeer(source))
    assert pulled.version.version == older.version
    assert content(here) == b"newer"
    assert [each.version for each in history(here, KEY)][-1] == older.version


def test_a_manifest_that_vanishes_before_it_is_shared_is_brought_anew() -> None:
    source = memory_store()
    commit(source, new_version(KEY, b"one"))

    class Forgetful(MemoryStore):
        def commit(self, new: NewVersion, settle: Settle) -> None:
            """As a store whose manifest goes between the look and the commit."""
            if new.shares:
                settle(None, NotFound("the manifest is no longer here"))
            else:
                super().commit(new, settle)

    here = Forgetful(clock=FrozenClock(), chunking=TINY_CHUNKING)
    commit(here, new_version("other", b"one"))
    _, pulled = pull_into(here, StorePeer(source))
    assert not pulled.skipped
    assert content(here) == b"one"
