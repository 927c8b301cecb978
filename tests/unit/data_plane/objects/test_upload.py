"""An upload: what reaches the store, and what does not when it fails."""

from __future__ import annotations

import pytest

from replicator.data_plane.objects.upload import Upload
from replicator.data_plane.ports import Added, Condition
from replicator.kernel.digest import Digest
from replicator.kernel.errors import DigestMismatch, NotFound
from replicator.kernel.manifest import PAGE_ENTRIES
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_store import MemoryStore
from replicator.testing.objects import TINY_CHUNKING, commit, noise, read_all, read_range, upload

KEY = ObjectId("a")
LONG = noise(7, 1_700_000)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=FrozenClock(), chunking=TINY_CHUNKING)


@pytest.mark.parametrize("length", [0, 1, 63, 64, 1024, 1025, 100_000])
def test_what_goes_in_comes_out(store: MemoryStore, length: int) -> None:
    data = noise(length, length)
    done = upload(store, "a", data, block_bytes=4096)
    assert done.version.size == length
    assert done.added.bytes == length
    assert done.added.chunks == done.version.chunk_count
    assert read_all(store, store.manifest(done.version.manifest)) == data


def test_the_same_bytes_make_the_same_manifest_however_they_arrive(store: MemoryStore) -> None:
    data = noise(1, 50_000)
    manifests = {
        upload(store, f"by {block}", data, block_bytes=block).version.manifest
        for block in (999, 4096, 60_000)
    }
    assert len(manifests) == 1
    assert upload(store, "again", data).added == Added(0, 0)


def test_an_edit_brings_only_the_chunks_around_it(store: MemoryStore) -> None:
    data = noise(2, 100_000)
    upload(store, "a", data)
    edited = data[:50_000] + b"inserted" + data[50_000:]
    done = upload(store, "a", edited)
    assert 0 < done.added.bytes < 5 * TINY_CHUNKING.chunk_bytes_max
    assert read_all(store, store.manifest(done.version.manifest)) == edited


def test_an_object_of_more_chunks_than_a_page_holds(store: MemoryStore) -> None:
    done = upload(store, "a", LONG, block_bytes=65_536)
    manifest = store.manifest(done.version.manifest)
    assert done.version.chunk_count > PAGE_ENTRIES
    assert manifest.page_count == 2
    assert read_all(store, manifest) == LONG
    page_ends = manifest.pages[0].length
    for start, stop in [(0, 1), (page_ends - 1, page_ends + 1), (page_ends, page_ends + 5), (0, len(LONG))]:
        assert read_range(store, manifest, start, stop) == LONG[start:stop]


@pytest.mark.parametrize("blocks", [[b"whole"], [noise(3, 5000), noise(4, 5000)], []])
def test_the_digest_sent_with_a_body_is_checked(store: MemoryStore, blocks: list[bytes]) -> None:
    def body(expected: bytes) -> Upload:
        one = Upload(store, object_id=KEY, expected=Digest.of(expected))
        for block in blocks:
            one.write(block)
        return one

    data = b"".join(blocks)
    commit(store, body(data).finish(content_type="text/plain"))
    with pytest.raises(DigestMismatch) as caught:
        body(data + b"!").finish(content_type="text/plain")
    assert caught.value.data["actual"] == str(Digest.of(data))


def test_an_abandoned_body_leaves_no_object_and_no_manifest(store: MemoryStore) -> None:
    whole = upload(MemoryStore(clock=FrozenClock(), chunking=TINY_CHUNKING), "a", LONG).version
    body = Upload(store, object_id=KEY)
    body.write(LONG)
    body.abandon()
    assert store.head(DEFAULT_BUCKET, KEY) is None
    with pytest.raises(NotFound):
        store.manifest(whole.manifest)
    assert read_all(store, store.manifest(upload(store, "a", LONG).version.manifest)) == LONG


def test_a_condition_travels_with_the_version(store: MemoryStore) -> None:
    condition = Condition(must_be_absent=True)
    new = Upload(store, object_id=KEY).finish(b"x", content_type="text/plain", condition=condition)
    assert (new.condition, new.content_type, new.object_id) == (condition, "text/plain", KEY)


def test_a_body_that_comes_whole_needs_no_hold(store: MemoryStore) -> None:
    Upload(store, object_id=KEY).finish(b"small", content_type="text/plain")
    assert store.holds == []


def test_what_was_added_is_held_until_the_commit_has_settled(store: MemoryStore) -> None:
    body = Upload(store, object_id=KEY)
    body.write(noise(5, 20_000))
    new = body.finish(content_type="text/plain")
    (hold,) = store.holds
    assert "'a'" in hold.purpose
    assert {ref.digest for ref in new.manifest.entries} <= hold.chunks
    commit(store, new)
    body.close()
    assert store.holds == []


def test_of_a_long_body_what_no_staged_page_names_is_held(store: MemoryStore) -> None:
    body = Upload(store, object_id=KEY)
    body.write(LONG)
    (hold,) = store.holds
    held = set(hold.chunks)
    new = body.finish(content_type="text/plain")
    assert hold.chunks == set(), "by then every chunk is named by a staged page"
    first, rest = store.entries(store.manifest(commit(store, new).version.manifest))
    assert len(first) == PAGE_ENTRIES
    assert held
    assert held <= {ref.digest for ref in rest}
    body.close()


def test_an_abandoned_body_holds_nothing(store: MemoryStore) -> None:
    body = Upload(store, object_id=KEY)
    body.write(noise(6, 20_000))
    body.abandon()
    assert store.holds == []
