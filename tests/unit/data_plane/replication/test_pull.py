"""What one attempt to bring objects here does with the store on both sides."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import Mock

import pytest

from replicator.data_plane.ports import DeleteMarker, NewVersion, Settle, Store, Version, Versioning
from replicator.data_plane.replication.goal import VERSION_AHEAD_MS_MAX
from replicator.data_plane.replication.offering import HOLD_S
from replicator.data_plane.replication.ports import Delivery, Offer, Peer, Piece, Removal, Wanted
from replicator.data_plane.replication.reliance import Named
from replicator.data_plane.replication.serving import Serving
from replicator.data_plane.storage.record import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Conflict, Corrupt, NotFound, ReplicatorError, Unavailable
from replicator.kernel.manifest import PAGE_ENTRIES, Manifest
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, NodeName, ObjectId
from replicator.runtime.clock import SystemClock
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_peer import MemoryPeer
from replicator.testing.memory_store import MemoryStore
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import (
    TINY_CHUNKING,
    LongObject,
    commit,
    history,
    new_version,
    noise,
    read_all,
    ref_of,
    upload,
)
from replicator.testing.pulling import SOURCE, Pulled, PullingNode
from replicator.testing.storage_faults import full_disk
from replicator.testing.waiting import DEADLINE_S
from replicator.wire.sessions import ObjectItem

KEY = ObjectId("a")
PAGED_BYTES = (PAGE_ENTRIES + 50) * 1024


def memory_store(name: str = "source") -> MemoryStore:
    return MemoryStore(clock=FrozenClock(), node_name=name, chunking=TINY_CHUNKING)


def pull_into(here: Store, source: Store, *object_ids: str) -> tuple[PullingNode, Pulled]:
    node = PullingNode(here, {SOURCE: source})
    return node, node.pull(*(object_ids or (KEY,)))


def content(store: Store, object_id: str = KEY) -> bytes:
    head = store.head(DEFAULT_BUCKET, ObjectId(object_id))
    assert head is not None
    return read_all(store, store.manifest(head.manifest))


def planned(version: Version, *, row: int = 1) -> ObjectItem:
    return ObjectItem(
        row=row,
        bucket=version.bucket,
        object_id=version.object_id,
        version=str(version.version),
        manifest=str(version.manifest),
        size=version.size,
    )


def failure(pulled: Pulled) -> tuple[str, str]:
    """Class and code of the error of a pull of one object."""
    error = pulled.only.error
    assert error is not None
    assert pulled.only.outcome == "failed"
    return error.error_class, error.code


def require_adds_up(pulled: Pulled) -> None:
    transfer = pulled.transfer
    assert transfer.bytes_logical == transfer.bytes_transferred + transfer.bytes_deduplicated
    assert transfer.bytes_transferred == sum(each.bytes_transferred for each in pulled.done.objects)
    for each in pulled.done.objects:
        if each.outcome != "failed":
            assert each.size == each.bytes_transferred + each.bytes_deduplicated


@pytest.mark.parametrize("length", [0, 1, 5000, PAGED_BYTES])
def test_an_object_arrives_with_its_version(length: int) -> None:
    source, here = memory_store(), memory_store("destination")
    data = noise(1, length)
    version = upload(source, KEY, data).version
    _, pulled = pull_into(here, source)
    assert (pulled.only.outcome, pulled.only.version) == ("verified", str(version.version))
    assert here.head(DEFAULT_BUCKET, KEY) == version
    assert content(here) == data
    assert pulled.only.size == length
    assert pulled.transfer.objects_verified == 1
    require_adds_up(pulled)


def test_what_is_here_already_does_not_travel() -> None:
    source, here = memory_store(), memory_store("destination")
    commit(source, new_version(KEY, b"one", b"two", b"one", b"three"))
    commit(here, new_version("other", b"two"))
    node, pulled = pull_into(here, source)
    assert node.fetched() == [ref_of(b"one"), ref_of(b"three")]
    assert (pulled.only.bytes_transferred, pulled.only.bytes_deduplicated) == (8, 6)
    again, pulled = pull_into(here, source)
    assert pulled.only.outcome == "skipped"
    assert again.fetched() == []
    assert (pulled.only.bytes_transferred, pulled.only.bytes_deduplicated) == (0, 14)


def test_a_copy_of_what_is_here_shares_its_manifest() -> None:
    source, here = memory_store(), memory_store("destination")
    commit(source, new_version(KEY, b"same"))
    commit(here, new_version("other", b"same"))
    node, pulled = pull_into(here, source)
    assert pulled.only.outcome == "skipped"
    assert node.fetched() == []
    assert content(here) == b"same"


def test_many_objects_are_a_few_questions() -> None:
    source, here = memory_store(), memory_store("destination")
    keys = [f"k{number:03}" for number in range(256)]
    for number, key in enumerate(keys):
        commit(source, new_version(key, b"shared", f"own {number}".encode()))
    node, pulled = pull_into(here, source, *keys)
    assert pulled.outcomes == ["verified"] * 256
    assert all(content(here, key) == f"sharedown {number}".encode() for number, key in enumerate(keys))
    fetched = node.fetched()
    assert len(fetched) == len(set(fetched)) == 257
    assert len(node.peers) == 2
    require_adds_up(pulled)


def test_each_object_of_a_batch_has_its_own_outcome() -> None:
    source, here = memory_store(), memory_store("destination")
    commit(source, new_version("new", b"n"))
    commit(source, new_version("here", b"h"))
    pull_into(here, source, "here")
    commit(source, new_version("old", b"1"))
    commit(here, new_version("old", b"2"))
    commit(here, new_version("old", b"3"))
    _, pulled = pull_into(here, source, "new", "here", "old", "nowhere")
    assert pulled.outcomes == ["verified", "skipped", "failed", "failed"]
    assert [each.error.code for each in pulled.done.objects if each.error] == ["conflict", "not-found"]
    transfer = pulled.transfer
    assert (transfer.objects_planned, transfer.objects_verified) == (4, 1)
    assert (transfer.objects_skipped, transfer.objects_failed) == (1, 2)
    assert pulled.done.error is None
    require_adds_up(pulled)


def test_a_bucket_that_is_not_here_is_made_as_it_is_at_the_source() -> None:
    source, here = memory_store(), memory_store("destination")
    bucket = BucketName("photos")
    source.set_bucket(bucket, Versioning.ON)
    version = commit(source, new_version(KEY, b"x", bucket=bucket)).version
    node = PullingNode(here, {SOURCE: source})
    pulled = node.run(node.work([planned(version)]))
    assert pulled.only.outcome == "verified"
    assert here.bucket(bucket).versioning is Versioning.ON


def test_versions_that_a_bucket_here_would_not_keep_are_refused() -> None:
    source, here = memory_store(), memory_store("destination")
    source.set_bucket(DEFAULT_BUCKET, Versioning.ON)
    versions = [commit(source, new_version(KEY, data)).version for data in (b"1", b"2", b"3")]
    items = [planned(version, row=row) for row, version in enumerate(versions, 1)]
    node = PullingNode(here, {SOURCE: source})
    pulled = node.run(node.work(items))
    assert pulled.outcomes == ["failed", "failed", "verified"]
    assert "does not keep versions" in str(pulled.done.objects[0].error)
    here.set_bucket(DEFAULT_BUCKET, Versioning.ON)
    assert node.run(node.work(items)).outcomes == ["verified", "verified", "skipped"]
    assert [each.version for each in history(here, KEY)] == [each.version for each in reversed(versions)]


def test_the_planned_version_is_brought_though_a_newer_one_is_there() -> None:
    source, here = memory_store(), memory_store("destination")
    source.set_bucket(DEFAULT_BUCKET, Versioning.ON)
    first = commit(source, new_version(KEY, b"planned")).version
    commit(source, new_version(KEY, b"newer"))
    node = PullingNode(here, {SOURCE: source})
    pulled = node.run(node.work([planned(first)]))
    assert pulled.only.version == str(first.version)
    assert content(here) == b"planned"


def test_a_planned_version_that_is_gone_is_named_and_no_other_is_taken() -> None:
    source, here = memory_store(), memory_store("destination")
    first = commit(source, new_version(KEY, b"planned")).version
    commit(source, new_version(KEY, b"newer"))
    node = PullingNode(here, {SOURCE: source})
    pulled = node.run(node.work([planned(first)]))
    assert failure(pulled) == ("permanent", "not-found")
    assert str(first.version) in str(pulled.only.error)
    assert here.head(DEFAULT_BUCKET, KEY) is None


def test_another_manifest_than_was_planned_is_refused() -> None:
    source, here = memory_store(), memory_store("destination")
    version = commit(source, new_version(KEY, b"x")).version
    item = planned(version).model_copy(update={"manifest": "ab" * 32})
    node = PullingNode(here, {SOURCE: source})
    assert failure(node.run(node.work([item]))) == ("transient", "broken-peer")
    assert here.head(DEFAULT_BUCKET, KEY) is None


def test_a_chunk_that_is_damaged_here_is_brought_again(tmp_path: Path) -> None:
    source, folder = memory_store(), StoreFolder(tmp_path)
    commit(source, new_version(KEY, b"first", b"other"))
    with folder.opened() as here:
        pull_into(here, source)
        with folder.segment().open("r+b") as file:
            file.seek(SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES)
            file.write(b"F")
        with pytest.raises(Corrupt):
            content(here)
        assert here.has_damage
        node, pulled = pull_into(here, source)
        assert pulled.only.outcome == "verified"
        assert node.fetched() == [ref_of(b"first")]
        assert content(here) == b"firstother"
        assert not here.has_damage
    with folder.opened() as here:
        assert content(here) == b"firstother"


@pytest.mark.parametrize("damage", [Corrupt, NotFound])
def test_an_earlier_version_that_is_damaged_here_keeps_nothing_out(
    monkeypatch: pytest.MonkeyPatch, damage: type[ReplicatorError]
) -> None:
    source, here, long = memory_store(), memory_store("destination"), LongObject()
    commit(here, long.new_version(KEY, number=long.stage(here)))
    for payload in (b"old", b"new"):
        commit(source, new_version(KEY, payload))
    monkeypatch.setattr(here, "page", Mock(side_effect=damage("a page is damaged here")))
    _, pulled = pull_into(here, source)
    assert pulled.only.outcome == "verified"
    assert content(here) == b"new"


def test_a_newer_version_here_is_kept() -> None:
    source, here = memory_store(), memory_store("destination")
    commit(source, new_version(KEY, b"old"))
    commit(here, new_version(KEY, b"new"))
    commit(here, new_version(KEY, b"newer"))
    _, pulled = pull_into(here, source)
    assert failure(pulled) == ("permanent", "conflict")
    assert "newer version" in str(pulled.only.error)
    assert content(here) == b"newer"


def test_an_object_that_is_not_there() -> None:
    _, pulled = pull_into(memory_store(), memory_store())
    assert failure(pulled) == ("permanent", "not-found")
    assert isinstance(pulled.done.error, NotFound)


@pytest.mark.parametrize("has_it", [True, False])
def test_another_node_than_the_source_is_refused(has_it: bool) -> None:
    stale, here = memory_store(), memory_store("destination")
    if has_it:
        commit(stale, new_version(KEY, b"x"))
    node = PullingNode(here, {"node9": stale}, urls={SOURCE: "node9"})
    with pytest.raises(Conflict, match="base_url of node 'source' leads to node 'node9'"):
        node.pull(KEY)
    assert here.head(DEFAULT_BUCKET, KEY) is None


class Liar(MemoryPeer):
    """Sends other bytes of the right length."""

    def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
        """See `Peer.fetch`."""
        for delivery in super().fetch(pieces, compress=compress):
            frames = [
                frame._replace(payload=memoryview(bytes(len(frame.payload)))) for frame in delivery.frames
            ]
            yield delivery._replace(frames=frames)


def lying_about(*names: str) -> dict[str, object]:
    def make(serving: Serving, name: NodeName) -> Peer:
        return Liar(serving) if name in names else MemoryPeer(serving)

    return {"make_peer": make}


def test_bytes_that_do_not_hash_to_their_digest_are_not_kept() -> None:
    source, here = memory_store(), memory_store("destination")
    commit(source, new_version(KEY, b"true"))
    node = PullingNode(here, {SOURCE: source}, **lying_about(SOURCE))  # type: ignore[arg-type]
    pulled = node.pull(KEY)
    assert failure(pulled) == ("transient", "broken-peer")
    assert here.head(DEFAULT_BUCKET, KEY) is None
    assert here.locate([ref_of(b"true").digest]) == [None]
    assert here.holds == []


def test_an_honest_holder_makes_up_for_a_lying_one() -> None:
    source, here = memory_store(), memory_store("destination")
    data = noise(8, 9_000_000)
    upload(source, KEY, data)
    nodes = {SOURCE: source, "second": source}
    node = PullingNode(here, nodes, **lying_about("second"))  # type: ignore[arg-type]
    assert node.pull(KEY, others=["second"]).only.outcome == "verified"
    assert content(here) == data


def test_a_version_from_the_future_is_refused() -> None:
    ahead = FrozenClock(wall_ms=FrozenClock().wall_ms() + VERSION_AHEAD_MS_MAX + 2)
    source = MemoryStore(clock=ahead)
    commit(source, new_version(KEY, b"x"))
    node = PullingNode(memory_store(), {SOURCE: source}, clock=FrozenClock())
    pulled = node.pull(KEY)
    assert failure(pulled) == ("transient", "broken-peer")
    assert "clocks" in str(pulled.only.error)


def test_a_cancelled_pull_keeps_what_came_and_the_next_one_brings_the_rest(tmp_path: Path) -> None:
    source, folder = memory_store(), StoreFolder(tmp_path)
    data = noise(3, PAGED_BYTES)
    upload(source, KEY, data)

    class Stopping(MemoryPeer):
        def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
            for count, delivery in enumerate(super().fetch(pieces, compress=compress)):
                yield delivery
                if count == 3:
                    work.stop()

    with folder.opened() as here:
        node = PullingNode(
            here, {SOURCE: source}, make_peer=lambda serving, _: Stopping(serving, delivery_bytes=20_000)
        )
        work = node.work([ObjectItem(row=1, object_id=KEY)])
        pulled = node.run(work)
        assert pulled.done.error is not None
        assert pulled.done.error.code == "cancelled"
        assert pulled.done.objects == []
        assert here.head(DEFAULT_BUCKET, KEY) is None
        came = pulled.transfer.bytes_transferred
        assert came > 0
        require_logical = pulled.transfer.bytes_transferred + pulled.transfer.bytes_deduplicated
        assert pulled.transfer.bytes_logical == require_logical
    with folder.opened() as here:
        _, pulled = pull_into(here, source)
        assert content(here) == data
        assert pulled.only.bytes_transferred + came == len(data)


def test_the_error_of_a_full_disk_is_the_one_reported(tmp_path: Path) -> None:
    source, folder = memory_store(), StoreFolder(tmp_path)
    upload(source, KEY, noise(4, 5000))
    with folder.opened() as here:
        with full_disk():
            _, pulled = pull_into(here, source)
        assert failure(pulled) == ("transient", "quota-exceeded")
        assert here.head(DEFAULT_BUCKET, KEY) is None
        pull_into(here, source)
        assert content(here) == noise(4, 5000)


def test_what_a_pull_needs_is_held_until_it_has_ended() -> None:
    source, here = memory_store(), memory_store("destination")
    commit(here, new_version("other", b"two"))
    commit(source, new_version(KEY, b"one", b"two", b"three"))
    seen: list[set[Digest]] = []

    class Watched(MemoryPeer):
        def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
            """See `Peer.fetch`."""
            for delivery in super().fetch(pieces, compress=compress):
                seen.append(set(here.holds[0].chunks))
                yield delivery
                seen.append(set(here.holds[0].chunks))

    node = PullingNode(here, {SOURCE: source}, make_peer=lambda serving, _: Watched(serving))
    node.pull(KEY)
    one, two, three = (Digest.of(data) for data in (b"one", b"two", b"three"))
    assert seen == [{two}, {one, two, three}]
    assert here.holds == []


def test_a_pull_of_pages_holds_no_more_than_a_few_pages() -> None:
    source, here = memory_store(), memory_store("destination")
    upload(source, KEY, noise(1, 6 * PAGED_BYTES))
    most: list[int] = []

    class Watched(MemoryPeer):
        def page(self, manifest: Manifest, index: int) -> bytes:
            """See `Peer.page`."""
            most.append(len(here.holds[0].chunks))
            return super().page(manifest, index)

    node = PullingNode(here, {SOURCE: source}, make_peer=lambda serving, _: Watched(serving))
    assert node.pull(KEY).only.outcome == "verified"
    assert len(most) > 6
    assert max(most) <= 3 * PAGE_ENTRIES


def test_an_older_version_takes_its_place_where_versions_are_kept() -> None:
    source, here = memory_store(), memory_store("destination")
    older = commit(source, new_version(KEY, b"old")).version
    here.set_bucket(DEFAULT_BUCKET, Versioning.ON)
    for content_here in (b"new", b"newer"):
        commit(here, new_version(KEY, content_here))
    _, pulled = pull_into(here, source)
    assert pulled.only.version == str(older.version)
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
    _, pulled = pull_into(here, source)
    assert pulled.only.outcome == "verified"
    assert content(here) == b"one"


@pytest.mark.parametrize("length", [300_000, PAGED_BYTES])
def test_a_new_version_is_a_delta_against_the_one_before(length: int) -> None:
    source, here = memory_store(), memory_store("destination")
    data = bytearray(noise(5, length))
    upload(source, KEY, bytes(data))
    pull_into(here, source)
    data[1000:1000] = b"inserted"
    upload(source, KEY, bytes(data))
    _, pulled = pull_into(here, source)
    assert content(here) == bytes(data)
    assert pulled.only.bytes_saved > pulled.only.bytes_transferred // 2
    require_adds_up(pulled)


def test_a_source_that_recovers_within_the_attempt_costs_nothing() -> None:
    source, here = memory_store(), memory_store("destination")
    upload(source, KEY, noise(6, 100_000))
    failures = iter([True, False, True])

    class Flaky(MemoryPeer):
        def offers(self, wanted: Sequence[Wanted], *, hold_s: int) -> list[Offer | ReplicatorError]:
            if next(failures, False):
                raise Unavailable("not now")
            return super().offers(wanted, hold_s=hold_s)

        def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
            if next(failures, False):
                raise Unavailable("not now")
            yield from super().fetch(pieces, compress=compress)

    node = PullingNode(here, {SOURCE: source}, make_peer=lambda serving, _: Flaky(serving))
    pulled = node.pull(KEY)
    assert pulled.only.outcome == "verified"
    assert pulled.only.bytes_transferred == 100_000


def test_what_is_offered_is_asked_for_again_while_the_pull_lasts() -> None:
    source, here, clock = memory_store(), memory_store("destination"), FrozenClock()
    version = commit(source, new_version(KEY, b"slowly")).version
    asked: list[Sequence[Wanted]] = []

    class Slow(MemoryPeer):
        def offers(self, wanted: Sequence[Wanted], *, hold_s: int) -> list[Offer | ReplicatorError]:
            asked.append(wanted)
            return super().offers(wanted, hold_s=hold_s)

        def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
            clock.now_ms += 1000 * HOLD_S // 2
            yield from super().fetch(pieces, compress=compress)

    node = PullingNode(here, {SOURCE: source}, make_peer=lambda serving, _: Slow(serving), clock=clock)
    assert node.pull(KEY).only.outcome == "verified"
    assert asked == [
        [Wanted(DEFAULT_BUCKET, KEY)],
        [Wanted(DEFAULT_BUCKET, KEY, version.version, version.manifest)],
    ]


def test_an_object_overwritten_during_the_pull_arrives_as_it_was() -> None:
    source, here = memory_store(), memory_store("destination")
    data = noise(7, 100_000)
    first = upload(source, KEY, data)

    class Overwritten(MemoryPeer):
        def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
            commit(source, new_version(KEY, b"overwritten"))
            yield from super().fetch(pieces, compress=compress)

    node = PullingNode(here, {SOURCE: source}, make_peer=lambda serving, _: Overwritten(serving))
    assert node.pull(KEY).only.version == str(first.version.version)
    assert content(here) == data


def test_a_source_that_nobody_answers_for_fails_the_task() -> None:
    class Gone(MemoryPeer):
        def offers(self, wanted: Sequence[Wanted], *, hold_s: int) -> list[Offer | ReplicatorError]:
            raise Unavailable("not now")

    source = memory_store()
    node = PullingNode(memory_store(), {SOURCE: source}, make_peer=lambda serving, _: Gone(serving))
    with pytest.raises(Unavailable):
        node.pull(KEY)


def test_two_holders_share_the_work_and_nothing_travels_twice() -> None:
    source, here = MemoryStore(clock=FrozenClock()), memory_store("destination")
    data = noise(9, 20_000_000)
    upload(source, KEY, data)
    joined = threading.Event()

    class Patient(MemoryPeer):
        """The source goes on once the other has been asked for something."""

        def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
            assert joined.wait(DEADLINE_S)
            yield from super().fetch(pieces, compress=compress)

    class Other(MemoryPeer):
        def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
            joined.set()
            yield from super().fetch(pieces, compress=compress)

    node = PullingNode(
        here,
        {SOURCE: source, "second": source},
        make_peer=lambda serving, name: (Patient if name == SOURCE else Other)(serving),
    )
    pulled = node.pull(KEY, others=["second"])
    assert content(here) == data
    first, second = node.fetched(), node.fetched("second")
    assert first
    assert len(first) + len(second) == len({*first, *second})
    assert pulled.only.bytes_transferred == len(data)


def test_every_holder_has_a_stream_however_many_there_are_and_whoever_dies() -> None:
    source, here = MemoryStore(clock=FrozenClock()), memory_store("destination")
    data = noise(9, 20_000_000)
    upload(source, KEY, data)
    last = "fifth"
    asked = threading.Event()

    class Dying(MemoryPeer):
        """All but the last die once that one has been asked."""

        def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
            assert asked.wait(DEADLINE_S)
            raise Unavailable("killed")

    class Last(MemoryPeer):
        def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
            asked.set()
            yield from super().fetch(pieces, compress=compress)

    others = ["second", "third", "fourth", last]
    node = PullingNode(
        here,
        {SOURCE: source, **dict.fromkeys(others, source)},
        make_peer=lambda serving, name: (Last if name == last else Dying)(serving),
    )
    assert node.pull(KEY, others=others).only.outcome == "verified"
    assert content(here) == data


def test_others_are_not_asked_for_little() -> None:
    source, here = memory_store(), memory_store("destination")
    commit(source, new_version(KEY, b"little"))
    node = PullingNode(here, {SOURCE: source, "second": source})
    node.pull(KEY, others=["second"])
    assert {name for name, _ in node.peers} == {SOURCE}


@pytest.mark.parametrize("has_it", [True, False])
def test_a_chunk_damaged_at_the_source_is_taken_from_another_holder(tmp_path: Path, has_it: bool) -> None:
    folder, here = StoreFolder(tmp_path), memory_store("destination")
    second = memory_store("second")
    with folder.opened() as source:
        commit(source, new_version(KEY, b"first", b"other"))
        with folder.segment().open("r+b") as file:
            file.seek(SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES)
            file.write(b"F")
        if has_it:
            commit(second, new_version("elsewhere", b"first"))
        node = PullingNode(here, {SOURCE: source, "second": second})
        pulled = node.pull(KEY, others=["second"])
    (corrupt,) = pulled.done.corrupt
    assert (corrupt.node, corrupt.digest) == (SOURCE, str(Digest.of(b"first")))
    if has_it:
        assert content(here) == b"firstother"
    else:
        assert failure(pulled) == ("permanent", "corrupt")
        assert str(Digest.of(b"first")) in str(pulled.only.error)


def test_another_holder_that_is_not_who_it_should_be_is_left_out() -> None:
    source, here = memory_store(), memory_store("destination")
    data = noise(9, 9_000_000)
    upload(source, KEY, data)
    node = PullingNode(here, {SOURCE: source, "third": source}, urls={"second": "third"})
    assert node.pull(KEY, others=["second", "unreachable"]).only.outcome == "verified"
    assert node.fetched("second") == []


def gone_at(store: Store, version: Version) -> bool:
    return store.version(version.bucket, version.object_id, version.version) is None


def test_a_move_deletes_at_the_source_what_was_verified_here() -> None:
    source, here = memory_store(), memory_store("destination")
    source.set_bucket(DEFAULT_BUCKET, Versioning.ON)
    old = commit(source, new_version(KEY, b"old")).version
    moved = commit(source, new_version(KEY, b"moved")).version
    node = PullingNode(here, {SOURCE: source})
    pulled = node.run(node.work([planned(moved)], move=True))
    assert pulled.only.outcome == "verified"
    assert content(here) == b"moved"
    assert gone_at(source, moved)
    assert not gone_at(source, old)
    assert not isinstance(source.head(DEFAULT_BUCKET, KEY), DeleteMarker)


def test_a_move_whose_deletion_failed_is_finished_by_the_next_attempt() -> None:
    source, here = memory_store(), memory_store("destination")
    moved = commit(source, new_version(KEY, b"moved")).version
    refuses = iter([True] * 3)

    class Refusing(MemoryPeer):
        def remove(self, removals: object) -> list[ReplicatorError | None]:
            if next(refuses, False):
                raise Unavailable("not now")
            return super().remove(removals)  # type: ignore[arg-type]

    node = PullingNode(here, {SOURCE: source}, make_peer=lambda serving, _: Refusing(serving))
    pulled = node.run(node.work([planned(moved)], move=True))
    assert failure(pulled) == ("transient", "unavailable")
    assert pulled.only.bytes_transferred == 5
    assert not gone_at(source, moved)
    assert node.run(node.work([planned(moved)], move=True)).only.outcome == "skipped"
    assert gone_at(source, moved)
    # And once more, as after a result that was lost.
    assert node.run(node.work([planned(moved)], move=True)).only.outcome == "skipped"
    assert content(here) == b"moved"


def test_a_move_that_is_stopped_before_the_deletion_says_nothing_of_the_object() -> None:
    source, here = memory_store(), memory_store("destination")
    moved = commit(source, new_version(KEY, b"moved")).version
    node = PullingNode(here, {SOURCE: source})
    work = node.work([planned(moved)], move=True)

    class Stopping(MemoryPeer):
        def remove(self, removals: object) -> list[ReplicatorError | None]:
            work.stop()
            raise Unavailable("the connection was closed")

    node.make_peer = lambda serving, _: Stopping(serving)
    work = node.work([planned(moved)], move=True)
    stopped = node.run(work)
    assert stopped.done.objects == []
    assert content(here) == b"moved"
    node.make_peer = lambda serving, _: MemoryPeer(serving)
    assert node.run(node.work([planned(moved)], move=True)).only.outcome == "skipped"
    assert gone_at(source, moved)


def test_a_move_deletes_nothing_that_is_not_whole_here(tmp_path: Path) -> None:
    source, folder = memory_store(), StoreFolder(tmp_path)
    moved = commit(source, new_version(KEY, b"first", b"other")).version
    with folder.opened() as here:
        pull_into(here, source)
        with folder.segment().open("r+b") as file:
            file.seek(SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES)
            file.write(b"F")
        node = PullingNode(here, {SOURCE: source})
        pulled = node.run(node.work([planned(moved)], move=True))
        assert failure(pulled) == ("transient", "unavailable")
        assert not gone_at(source, moved)
        assert node.run(node.work([planned(moved)], move=True)).only.outcome == "verified"
        assert gone_at(source, moved)
        assert content(here) == b"firstother"


@pytest.mark.parametrize("move", [False, True])
def test_versions_that_a_bucket_would_not_keep_are_all_refused(move: bool) -> None:
    source, here = memory_store(), memory_store("destination")
    source.set_bucket(DEFAULT_BUCKET, Versioning.ON)
    versions = [commit(source, new_version(KEY, content)).version for content in (b"old", b"new")]
    node = PullingNode(here, {SOURCE: source})
    # Each in a task of its own, as those of an object with many versions are.
    for version in reversed(versions):
        pulled = node.run(node.work([planned(version)], move=move, all_versions=True))
        assert failure(pulled) == ("permanent", "conflict")
    assert not any(gone_at(source, version) for version in versions)
    assert here.head(DEFAULT_BUCKET, KEY) is None


def test_what_a_newer_version_keeps_out_does_not_travel() -> None:
    source, here = memory_store(), memory_store("destination")
    version = commit(source, new_version(KEY, b"older")).version
    commit(here, new_version(KEY, b"first"))
    commit(here, new_version(KEY, b"newer"))
    node = PullingNode(here, {SOURCE: source})
    assert failure(node.run(node.work([planned(version)]))) == ("permanent", "conflict")
    assert node.fetched() == []


def test_a_planned_version_that_is_here_and_gone_at_the_source_has_been_brought() -> None:
    source, here = memory_store(), memory_store("destination")
    version = commit(source, new_version(KEY, b"moved")).version
    node, _ = pull_into(here, source)
    Serving(source, node=NodeName(SOURCE), clock=SystemClock()).remove(
        [Removal(DEFAULT_BUCKET, KEY, version.version, version.manifest)]
    )
    assert node.run(node.work([planned(version)])).only.outcome == "skipped"


def test_two_moves_in_opposite_directions_leave_a_copy() -> None:
    source, here = memory_store(), memory_store("destination")
    moved = commit(source, new_version(KEY, b"moved")).version
    pull_into(here, source)
    opposite = Serving(here, node=NodeName("destination"), clock=SystemClock())
    answers: list[ReplicatorError | None] = []

    class Asked(MemoryPeer):
        """While this node has the source delete its copy, the source has this one asked to delete its own."""

        def remove(self, removals: Sequence[Removal]) -> list[ReplicatorError | None]:
            answers.extend(opposite.remove(removals))
            return super().remove(removals)

    node = PullingNode(here, {SOURCE: source}, make_peer=lambda serving, _: Asked(serving))
    opposite.reliance = node.engine.reliance
    assert node.run(node.work([planned(moved)], move=True)).only.outcome == "skipped"
    assert [type(answer) for answer in answers] == [Unavailable]
    assert content(here) == b"moved"
    assert gone_at(source, moved)


def test_what_is_being_removed_here_cannot_be_relied_on() -> None:
    source, here = memory_store(), memory_store("destination")
    moved = commit(source, new_version(KEY, b"moved")).version
    node = PullingNode(here, {SOURCE: source})
    named = Named(moved.bucket, moved.object_id, moved.version)
    with node.engine.reliance.leaving([named]):
        assert failure(node.run(node.work([planned(moved)], move=True))) == ("transient", "unavailable")
    assert not gone_at(source, moved)


def test_a_move_deletes_nothing_at_another_node() -> None:
    source, here = memory_store(), memory_store("destination")
    moved = commit(source, new_version(KEY, b"moved")).version
    node = PullingNode(here, {SOURCE: source})

    class Renamed(MemoryPeer):
        def hello(self) -> NodeName:
            return NodeName("destination")

    node.make_peer = lambda serving, _: Renamed(serving)
    pulled = node.run(node.work([planned(moved)], move=True))
    assert failure(pulled) == ("permanent", "conflict")
    assert not gone_at(source, moved)
