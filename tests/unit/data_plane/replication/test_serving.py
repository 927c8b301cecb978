"""The source's side: what was offered is served whatever happens to the object, and every answer is bounded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from replicator.data_plane.ports import Scanned, Versioning
from replicator.data_plane.replication.messages.requests import FetchAsked, PieceAsked
from replicator.data_plane.replication.pins import SLOT_S
from replicator.data_plane.replication.ports import Offer, Removal, Stretch, Wanted
from replicator.data_plane.replication.serving import Serving
from replicator.data_plane.replication.stretches import cut_stretch
from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Cancelled, NotFound, TooLarge
from replicator.kernel.manifest import Manifest
from replicator.kernel.merkle import encode_entry, stretch_digest
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, NodeName, ObjectId
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import LongObject, commit, delete, new_version, noise
from replicator.testing.reclaiming import collect, compact_all
from replicator.wire.frames import FrameStatus
from replicator.wire.replication import LIST_ENTRIES_MAX, LIST_KEYS_MAX

HOLD_S = 60
WANTED = [Wanted(DEFAULT_BUCKET, ObjectId("a"))]
OLD, NEW = [noise(1, 500), noise(2, 500)], [noise(3, 500)]


class Source:
    """A source over a store on disk, in which the test reclaims whatever nothing keeps."""

    def __init__(self, folder: StoreFolder, store: NodeStore) -> None:
        self.folder = folder
        self.store = store
        self.serving = Serving(store, node=NodeName("source"), clock=folder.clock)

    def offered(self) -> Manifest:
        (offer,) = self.serving.offers(WANTED, hold_s=HOLD_S)
        assert isinstance(offer, Offer)
        return offer.manifest

    def fetched(self, manifest: Manifest) -> bytes | None:
        """All chunks of a manifest as they are sent; None where one is missing."""
        refs = [ref.digest for entries in self.store.entries(manifest) for ref in entries]
        asked = FetchAsked([PieceAsked(refs[at : at + 100], []) for at in range(0, len(refs), 100)], False)
        frames = list(self.serving.fetch(asked))
        whole = all(frame.status is FrameStatus.CHUNK for frame in frames)
        return b"".join(frame.payload for frame in frames) if whole else None

    def reclaim(self) -> None:
        collect(self.store)
        compact_all(self.store)

    def pass_time(self, seconds: float) -> None:
        self.folder.clock.now_ms += int(seconds * 1000)
        self.serving.pins.sweep()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    folder = StoreFolder(tmp_path)
    with folder.opened() as store:
        yield Source(folder, store)


@pytest.mark.parametrize("change", ["overwritten", "deleted", "removed"])
def test_what_was_offered_is_served_though_the_object_changes(source: Source, change: str) -> None:
    version = commit(source.store, new_version("a", *OLD)).version
    manifest = source.offered()
    if change == "overwritten":
        commit(source.store, new_version("a", *NEW))
    elif change == "deleted":
        delete(source.store, "a")
    else:
        removal = Removal(DEFAULT_BUCKET, ObjectId("a"), version.version, version.manifest)
        assert source.serving.remove([removal]) == [None]
    source.reclaim()
    assert source.fetched(manifest) == b"".join(OLD)
    source.pass_time(HOLD_S + 2 * SLOT_S)
    source.reclaim()
    with pytest.raises(NotFound):
        source.store.manifest(manifest.digest)


def test_what_was_offered_stays_for_as_long_as_it_is_renewed(source: Source) -> None:
    version = commit(source.store, new_version("a", *OLD)).version
    manifest = source.offered()
    commit(source.store, new_version("a", *NEW))
    renewal = [Wanted(DEFAULT_BUCKET, version.object_id, version.version, manifest.digest)]
    for _ in range(10):
        source.pass_time(HOLD_S - 1)
        source.serving.offers(renewal, hold_s=HOLD_S)
    source.reclaim()
    assert source.fetched(manifest) == b"".join(OLD)
    source.pass_time(HOLD_S + 2 * SLOT_S)
    assert [type(answer) for answer in source.serving.offers(renewal, hold_s=HOLD_S)] == [NotFound]
    source.reclaim()
    with pytest.raises(NotFound):
        source.store.manifest(manifest.digest)


def test_a_renewal_is_of_all_though_not_all_fit_the_answer(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [commit(source.store, new_version(name, name.encode())).version for name in "abc"]
    wanted = [Wanted(DEFAULT_BUCKET, each.object_id, each.version, each.manifest) for each in made]
    source.serving.offers(wanted, hold_s=HOLD_S)
    monkeypatch.setattr("replicator.data_plane.replication.serving.OFFERS_BYTES_MAX", 1)
    source.pass_time(HOLD_S - 1)
    source.serving.offers(wanted, hold_s=HOLD_S)
    source.pass_time(HOLD_S - 1)
    for each in made:
        delete(source.store, each.object_id)
    source.reclaim()
    assert [source.store.manifest(each.manifest).digest for each in made] == [each.manifest for each in made]


def test_a_long_object_is_served_page_by_page_after_it_was_overwritten(source: Source) -> None:
    long = LongObject()
    commit(source.store, long.new_version("a", number=long.stage(source.store)))
    manifest = source.offered()
    commit(source.store, new_version("a", *NEW))
    source.reclaim()
    for index, encoded, _ in long.pages:
        assert source.serving.page(manifest.digest, index) == encoded
    assert source.fetched(manifest) == long.data


def test_offers_beyond_one_answer_are_to_be_asked_for_again(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [commit(source.store, new_version(f"{number}", *OLD)).version for number in range(5)]
    root_bytes = len(source.store.manifest(made[0].manifest).encoded)
    monkeypatch.setattr("replicator.data_plane.replication.serving.OFFERS_BYTES_MAX", 2 * root_bytes)
    wanted = [Wanted(DEFAULT_BUCKET, each.object_id) for each in made]
    answers: list[Offer] = []
    rounds = 0
    while wanted:
        offers = source.serving.offers(wanted, hold_s=HOLD_S)
        answers += [offer for offer in offers if isinstance(offer, Offer)]
        refused = [each for each, offer in zip(wanted, offers, strict=True) if isinstance(offer, TooLarge)]
        assert len(refused) < len(wanted)
        wanted = refused
        rounds += 1
    assert [offer.version for offer in answers] == [each.version for each in made]
    assert rounds == 2


def test_a_proof_that_is_stopped_ends(source: Source) -> None:
    commit(source.store, new_version("a", *OLD))
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Cancelled):
        source.serving.prove(WANTED, stopped=stopped)


def test_many_removals_are_answered_in_order(source: Source) -> None:
    made = [commit(source.store, new_version(f"{number}", *OLD)).version for number in range(6)]
    delete(source.store, "3")
    removals = [Removal(each.bucket, each.object_id, each.version, each.manifest) for each in made]
    removals[4] = removals[4]._replace(manifest=Digest.of(b"another"))
    removals.append(removals[0]._replace(bucket=BucketName("nowhere")))
    answers = source.serving.remove(removals)
    assert [None if error is None else error.code for error in answers] == [None] * 4 + [
        "conflict",
        None,
        None,
    ]
    assert [each.object_id for each in source.store.scan(DEFAULT_BUCKET, "")] == ["4"]


def test_a_delete_marker_is_not_removed_in_the_place_of_a_version(source: Source) -> None:
    kept = BucketName("kept")
    source.store.set_bucket(kept, Versioning.ON)
    version = commit(source.store, new_version("a", *OLD, bucket=kept)).version
    marker = delete(source.store, "a", bucket=kept).marker
    assert marker is not None
    removal = Removal(kept, ObjectId("a"), marker.version, version.manifest)
    (refused,) = source.serving.remove([removal])
    assert refused is not None
    assert refused.code == "conflict"
    assert source.store.head(kept, ObjectId("a")) is None


def test_a_walk_over_nothing_but_delete_markers_gets_on(source: Source) -> None:
    kept = BucketName("kept")
    source.store.set_bucket(kept, Versioning.ON)
    for number in range(6):
        commit(source.store, new_version(f"{number}", *NEW, bucket=kept))
        delete(source.store, f"{number}", bucket=kept)
    removed = source.store.bucket_versions(kept, "", None, 100)
    for each in removed[1::2]:
        delete(source.store, each.object_id, bucket=kept, version=each.version)
    after, more, listed = "", True, 0
    while more:
        stretch = Stretch(bucket=kept, after=after, all_versions=True)
        listing = source.serving.listing(stretch, limit=2)
        assert listing.last > after
        after, more, listed = listing.last, listing.more, listed + listing.total
    assert listed == 0


def scanned(object_id: str, number: int) -> Scanned:
    return Scanned(object_id, number.to_bytes(16), Digest.of(b"%d" % number), 1)


def test_a_stretch_of_many_versions_has_fewer_keys() -> None:
    rows = [scanned(f"{key:02}", number) for key in range(20) for number in range(1000, 0, -1)]
    cut = cut_stretch(rows, limit=20, digest_only=False)
    assert cut.more
    assert cut.total == len(cut.entries) == -(-LIST_KEYS_MAX // 1000) * 1000
    assert cut.last == cut.entries[-1].object_id
    expected = stretch_digest(encode_entry(*row[:3]) for row in rows[: cut.total])
    assert cut.digest == expected == cut_stretch(rows, limit=20, digest_only=True).digest


def test_an_object_with_more_versions_than_an_answer_holds_can_be_compared_but_not_listed() -> None:
    rows = [scanned("a", number) for number in range(LIST_ENTRIES_MAX + 1, 0, -1)]
    assert cut_stretch(rows, limit=1, digest_only=True).total == len(rows)
    with pytest.raises(TooLarge, match="'a' has too many versions"):
        cut_stretch(rows, limit=1, digest_only=False)
