"""The contract suite of the `Peer` port: subclass `PeerContract` and give it a `connect` fixture.

It holds what a pull may rely on through the port alone, over a source whose store is in memory. What only a peer with
a network between can promise (silence, lies, an end of the source) is in `remote_peer_contract`.
"""
# ruff: noqa: D102  (the names of the tests are the promises)

from __future__ import annotations

from collections.abc import Iterator

import pytest

from replicator.data_plane.ports import Versioning
from replicator.data_plane.replication.ports import Offer, Peer, Removal, Stretch, Wanted
from replicator.data_plane.replication.serving import Serving
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Cancelled, Conflict, Corrupt, NotFound, ObjectDeleted
from replicator.kernel.manifest import decode_page
from replicator.kernel.merkle import encode_entry, stretch_digest
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.runtime.clock import SystemClock
from replicator.testing.objects import (
    CONTENT_TYPE,
    LongObject,
    commit,
    delete,
    manifest_of,
    new_version,
)
from replicator.testing.peer_source import NODE, Connect, SourceStore, wanted
from replicator.testing.peer_stream_contract import PeerStreamContract
from replicator.wire.replication import HOLD_SECONDS_MAX

HOLD_S = 30
KEYS = ["a", "a/b", "a/c", "b", "é", "日本/語", "\U0001d4b3"]


class PeerListingContract:
    """Listings: what two nodes compare."""

    def test_buckets_come_in_byte_order(self, store: SourceStore, peer: Peer) -> None:
        for name in ("media", "archive", "zoo-1", "a.b"):
            store.set_bucket(BucketName(name), Versioning.OFF)
        assert peer.buckets("", 1024) == ["a.b", "archive", "default", "media", "zoo-1"]
        assert peer.buckets("archive", 2) == ["default", "media"]
        assert peer.buckets("b.b", 1) == ["default"]
        assert peer.buckets("zoo-1", 1) == []

    def test_a_listing_has_the_latest_versions_in_byte_order(self, store: SourceStore, peer: Peer) -> None:
        made = {key: commit(store, new_version(key, key.encode())).version for key in reversed(KEYS)}
        commit(store, new_version("gone", b"x"))
        delete(store, "gone")
        listing = peer.listing(Stretch(bucket=DEFAULT_BUCKET), limit=100)
        assert [(*entry,) for entry in listing.entries] == [
            (key, made[key].version, made[key].manifest, len(key.encode())) for key in KEYS
        ]
        assert (listing.total, listing.last, listing.more) == (len(KEYS), KEYS[-1], False)
        assert (listing.versioning, listing.node) == (Versioning.OFF, NODE)

    def test_the_digest_of_a_stretch_is_that_of_its_entries(self, store: SourceStore, peer: Peer) -> None:
        for key in KEYS:
            commit(store, new_version(key, key.encode()))
        stretch = Stretch(bucket=DEFAULT_BUCKET)
        listed, told = (
            peer.listing(stretch, limit=4, digest_only=digest_only) for digest_only in (False, True)
        )
        entries = [encode_entry(each.object_id, each.version, each.manifest) for each in listed.entries]
        assert listed.digest == told.digest == stretch_digest(entries)
        assert (told.entries, told.total, told.last, told.more) == ([], 4, KEYS[3], True)

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 4096])
    def test_a_walk_goes_on_behind_the_last_key(self, store: SourceStore, peer: Peer, limit: int) -> None:
        for key in KEYS:
            commit(store, new_version(key, key.encode()))
        walked: list[str] = []
        after, more = "", True
        while more:
            listing = peer.listing(Stretch(bucket=DEFAULT_BUCKET, after=after), limit=limit)
            walked += [entry.object_id for entry in listing.entries]
            after, more = listing.last, listing.more
        assert walked == KEYS

    def test_a_stretch_has_a_prefix_and_ends(self, store: SourceStore, peer: Peer) -> None:
        for key in KEYS:
            commit(store, new_version(key, key.encode()))
        below = peer.listing(Stretch(bucket=DEFAULT_BUCKET, prefix="a/"), limit=10)
        assert [entry.object_id for entry in below.entries] == ["a/b", "a/c"]
        upto = peer.listing(Stretch(bucket=DEFAULT_BUCKET, after="a", until="b"), limit=10)
        assert [entry.object_id for entry in upto.entries] == ["a/b", "a/c", "b"]
        assert not upto.more

    def test_every_version_is_listed_newest_first_and_no_marker(self, store: SourceStore, peer: Peer) -> None:
        store.set_bucket(BucketName("kept"), Versioning.ON)
        bucket = BucketName("kept")
        made = [commit(store, new_version("a", body, bucket=bucket)).version for body in (b"1", b"2", b"3")]
        delete(store, "a", bucket=bucket)
        other = commit(store, new_version("b", b"4", bucket=bucket)).version
        listing = peer.listing(Stretch(bucket=bucket, all_versions=True), limit=10)
        assert [entry.version for entry in listing.entries] == [
            *(each.version for each in reversed(made)),
            other.version,
        ]
        assert listing.versioning == Versioning.ON
        latest = peer.listing(Stretch(bucket=bucket), limit=10)
        assert [entry.object_id for entry in latest.entries] == ["b"]

    def test_an_empty_stretch_has_nothing(self, peer: Peer) -> None:
        listing = peer.listing(Stretch(bucket=DEFAULT_BUCKET), limit=10)
        assert (list(listing.entries), listing.total, listing.last, listing.more) == ([], 0, "", False)
        assert listing.digest == stretch_digest([])

    def test_a_bucket_that_is_not_there_is_not_found(self, peer: Peer) -> None:
        with pytest.raises(NotFound):
            peer.listing(Stretch(bucket=BucketName("absent")), limit=10)


class PeerObjectContract:
    """Offers, pages, proofs and removals of single versions."""

    def test_an_offer_is_the_latest_version_or_the_one_named(self, store: SourceStore, peer: Peer) -> None:
        bucket = BucketName("kept")
        store.set_bucket(bucket, Versioning.ON)
        first, second = (
            commit(store, new_version("a", body, bucket=bucket)).version for body in (b"1", b"2")
        )
        asked = [Wanted(bucket, ObjectId("a")), Wanted(bucket, ObjectId("a"), first.version)]
        assert peer.offers(asked, hold_s=HOLD_S) == [
            Offer(version.version, manifest_of(body), CONTENT_TYPE, Versioning.ON, NODE)
            for version, body in ((second, b"2"), (first, b"1"))
        ]

    def test_what_cannot_be_offered_says_why_and_the_others_are(self, store: SourceStore, peer: Peer) -> None:
        bucket = BucketName("kept")
        store.set_bucket(bucket, Versioning.ON)
        commit(store, new_version("deleted", b"1", bucket=bucket))
        delete(store, "deleted", bucket=bucket)
        commit(store, new_version("here", b"2", bucket=bucket))
        names = ["absent", "deleted", "here"]
        absent, deleted, here = peer.offers([Wanted(bucket, ObjectId(name)) for name in names], hold_s=HOLD_S)
        assert type(absent) is NotFound
        assert type(deleted) is ObjectDeleted
        assert isinstance(here, Offer)
        (nowhere,) = peer.offers([Wanted(BucketName("absent"), ObjectId("a"))], hold_s=HOLD_S)
        assert type(nowhere) is NotFound

    def test_256_objects_are_offered_at_once_in_the_order_asked(self, store: SourceStore, peer: Peer) -> None:
        made = [commit(store, new_version(f"{number:03}", b"%d" % number)).version for number in range(256)]
        offers = peer.offers([wanted(each.object_id) for each in reversed(made)], hold_s=HOLD_S)
        assert [offer.version for offer in offers if isinstance(offer, Offer)] == [
            each.version for each in reversed(made)
        ]

    def test_what_is_offered_stays_though_it_is_deleted(self, store: SourceStore, peer: Peer) -> None:
        version = commit(store, new_version("a", b"one")).version
        peer.offers([wanted("a")], hold_s=HOLD_S)
        delete(store, "a")
        assert any(version.manifest in hold.manifests for hold in store.holds)

    def test_what_was_offered_is_renewed_though_no_version_has_it_any_more(
        self, store: SourceStore, peer: Peer
    ) -> None:
        version = commit(store, new_version("a", b"one")).version
        never_offered = commit(store, new_version("b", b"two")).version
        peer.offers([wanted("a")], hold_s=HOLD_S)
        for name in ("a", "b"):
            commit(store, new_version(name, b"new"))
        renewal = [
            Wanted(DEFAULT_BUCKET, each.object_id, each.version, each.manifest)
            for each in (version, never_offered)
        ]
        holds_before = list(store.holds)
        assert [type(answer) for answer in peer.offers(renewal, hold_s=HOLD_SECONDS_MAX)] == [NotFound] * 2
        renewed = set().union(*(hold.manifests for hold in store.holds if hold not in holds_before))
        assert version.manifest in renewed
        assert never_offered.manifest not in renewed

    def test_a_long_manifest_comes_page_by_page(self, store: SourceStore, peer: Peer) -> None:
        long = LongObject()
        commit(store, long.new_version("long", number=long.stage(store)))
        (offer,) = peer.offers([wanted("long")], hold_s=HOLD_S)
        assert isinstance(offer, Offer)
        for index, encoded, entries in long.pages:
            page = peer.page(offer.manifest, index)
            assert page == encoded
            assert decode_page(page, offer.manifest, index) == tuple(entries)

    def test_a_page_of_a_manifest_that_is_not_there_is_not_found(self, peer: Peer) -> None:
        with pytest.raises(NotFound):
            peer.page(LongObject().manifest, 0)

    def test_a_proof_is_the_manifest_of_what_was_read(self, store: SourceStore, peer: Peer) -> None:
        good = commit(store, new_version("good", b"one", b"two")).version
        commit(store, new_version("bad", b"one", b"three"))
        store.damaged.add(Digest.of(b"three"))
        proven, damaged, absent = peer.prove(
            [wanted(name) for name in ("good", "bad", "absent")], size_bytes=16
        )
        assert proven == good.manifest
        assert type(damaged) is Corrupt
        assert damaged.data["digest"] == str(Digest.of(b"three"))
        assert type(absent) is NotFound

    def test_a_removal_deletes_exactly_that_version(self, store: SourceStore, peer: Peer) -> None:
        bucket = BucketName("kept")
        store.set_bucket(bucket, Versioning.ON)
        first, second = (
            commit(store, new_version("a", body, bucket=bucket)).version for body in (b"1", b"2")
        )
        removal = Removal(bucket, ObjectId("a"), first.version, first.manifest)
        assert peer.remove([removal]) == [None]
        assert store.version(bucket, ObjectId("a"), first.version) is None
        assert store.head(bucket, ObjectId("a")) == second
        assert peer.remove([removal]) == [None]

    def test_a_version_with_another_manifest_is_not_removed(self, store: SourceStore, peer: Peer) -> None:
        version = commit(store, new_version("a", b"one")).version
        wrong = Removal(DEFAULT_BUCKET, ObjectId("a"), version.version, Digest.of(b"other"))
        (refused,) = peer.remove([wrong])
        assert type(refused) is Conflict
        assert store.head(DEFAULT_BUCKET, ObjectId("a")) == version


class PeerContract(PeerListingContract, PeerObjectContract, PeerStreamContract):
    """Every promise of `Peer` that needs no network."""

    @pytest.fixture
    def connect(self) -> Connect:
        """Gives a peer of a source; what it opened it closes at the end of the test."""
        raise NotImplementedError("a subclass says how to connect")

    @pytest.fixture
    def store(self) -> Iterator[SourceStore]:
        """What the source holds; the tests fill it."""
        store = SourceStore()
        yield store
        store.open.set()

    @pytest.fixture
    def serving(self, store: SourceStore) -> Serving:
        """The source."""
        return Serving(store, node=NODE, clock=SystemClock())

    @pytest.fixture
    def peer(self, connect: Connect, serving: Serving) -> Peer:
        """The peer under test."""
        return connect(serving)

    def test_hello_gives_the_name_of_the_node(self, peer: Peer) -> None:
        assert peer.hello() == NODE
        assert peer.hello() == NODE

    def test_a_closed_peer_answers_no_more(self, peer: Peer) -> None:
        assert peer.hello() == NODE
        peer.close()
        peer.close()
        with pytest.raises(Cancelled):
            peer.hello()
        with pytest.raises(Cancelled):
            peer.missing([Digest.of(b"one")])

    def test_a_peer_that_never_connected_can_be_closed(self, peer: Peer) -> None:
        peer.close()
        with pytest.raises(Cancelled):
            peer.hello()

    def test_missing_says_so_for_each_digest_in_order(self, store: SourceStore, peer: Peer) -> None:
        payloads = [b"%d" % number for number in range(21)]
        store.add([(Digest.of(payload), payload) for payload in payloads[::3]])
        assert peer.missing([Digest.of(payload) for payload in payloads]) == [
            number % 3 != 0 for number in range(21)
        ]

    def test_missing_takes_4096_digests(self, store: SourceStore, peer: Peer) -> None:
        digests = [Digest.of(number.to_bytes(2)) for number in range(4096)]
        store.add([(digests[4095], (4095).to_bytes(2))])
        assert peer.missing(digests) == [True] * 4095 + [False]
